"""A change writes what it changes, whatever the number of policies."""

import random
import re
from ipaddress import ip_address

from msgspec import convert
from msgspec.structs import replace

from proxy.backends.nftables.objects import Element
from proxy.model.values import Family
from proxy.objects.parse import Complaints
from proxy.policy import wire
from proxy.policy.index import PolicyIndex
from proxy.policy.parse import parse_namespace, parse_pod, parse_policy
from proxy.policy.render import is_plain
from proxy.policy.ruleset import PolicyRuleset
from tests.support.proxy import policy_index
from tests.support.proxy.cluster_table import CLUSTER_TABLE
from tests.support.proxy.policies import namespace, pod, policy
from tests.support.proxy.policy_table import TABLE

COUNT = 300


def set_pod(index: PolicyIndex, number: int, role: str | None, address: int | None = None) -> None:
    at = number if address is None else address
    one = pod(f"p{number}", "n1", f"10.1.{at >> 8}.{at & 255}", f"fd00::{at + 1:x}")
    one["metadata"]["labels"] = {"app": f"a{number % 5}", "role": role or ""}
    value = parse_pod(convert(one, wire.Pod), "n1") if role is not None else None
    index.set_pod(("ns", f"p{number}"), value)


def filled(policies: int) -> PolicyIndex:
    index = PolicyIndex()
    index.set_namespace("ns", parse_namespace(convert(namespace("ns"), wire.Namespace)))
    for number in range(COUNT):
        set_pod(index, number, f"r{number % 4}")
    for number in range(policies):
        who = {"podSelector": {"matchLabels": {"role": f"r{number % 4}"}}}
        block = {"ipBlock": {"cidr": f"192.0.{number % 200}.0/24"}}
        rule = {"from": [who, block], "ports": [{"port": number + 1}]}
        one = policy(f"n{number}", {"app": f"a{number % 5}"}, ingress=[rule])
        value = parse_policy(convert(one, wire.NetworkPolicy), Complaints("policy"))
        index.set_policy(("ns", f"n{number}"), value)
    return index


def held(made: PolicyRuleset, index: PolicyIndex) -> dict:
    """The members of each group, as the kernel has them by now."""
    groups = index.everything().groups
    return {
        one: {
            item.key
            for item in made._held[one].values()
            if isinstance(item, Element) and item.store.startswith("pods-")
        }
        for one in groups
    }


def test_a_label_changes_one_element_of_each_group() -> None:
    index = filled(20)
    made = PolicyRuleset(Family.V4, index)
    made.restart(index.everything(), (), ())
    set_pod(index, 7, "r0")  # r3 before: five groups lose it, five gain it
    change = made.advance(index.take(), (), ())
    assert sorted(one.key for one in (*change.put, *change.drop)) == ["10.1.0.7"] * 10


def test_every_store_without_ranges_is_plain() -> None:
    """An element of a range, or of names, that was packed as an address would be another one."""
    seen = set()
    for policies, *_ in (*TABLE.values(), *CLUSTER_TABLE.values()):
        world = policy_index.index(policy_index.cluster(policies))
        text = PolicyRuleset(Family.V4, world).restart(world.everything(), (), ())
        for name, spec in re.findall(r"^add (?:set|map) \S+ \S+ (\S+) \{ (.*) \}$", text, re.M):
            assert is_plain(Element(name, "")) is not ("interval" in spec or "ifname" in spec), name
            seen.add(re.sub(r"\d+$", "", name))
    assert {"pods-", "blocks-", "ports-", "named-", "exact-", "doors-", "deny-nets-"} < seen


def test_changes_in_any_order_end_in_the_same_sets() -> None:
    dice, index = random.Random(1), filled(20)
    made = PolicyRuleset(Family.V6, index)
    made.restart(index.everything(), (), ())
    for _ in range(200):
        for _ in range(dice.randint(1, 3)):
            role = dice.choice((None, "r0", "r1", "r2", "other"))
            set_pod(index, dice.randrange(20), role, dice.randrange(20))  # some share an address
        made.advance(index.take(), (), ())
    found = held(made, index)
    wanted = {
        one: {str(a) for a in index.addresses(one) if a.version == Family.V6} for one in found
    }
    assert found == wanted


def test_a_new_container_takes_an_address_from_an_ended_pod() -> None:
    """Also from one whose labels change while it ends; not from the Pod that gets it."""
    index = filled(5)
    set_pod(index, 7, "r0")
    index.take()
    address = ip_address("10.1.0.7")
    assert index.posts[address].pod == ("ns", "p7")
    index.release(address)
    index.take()
    assert address not in index.posts
    assert all(not index.has(group, address) for group in index.everything().groups)
    assert ip_address("fd00::8") in index.posts  # nobody took it

    ending = pod("p7", "n1", "10.1.0.7", labels={"app": "a2", "role": "r1"})
    value = parse_pod(convert(ending, wire.Pod), "n1")
    assert value is not None
    index.set_pod(("ns", "p7"), replace(value, rank=(False, "", "p7")))
    index.release(address)
    index.set_pod(("ns", "p7"), replace(value, rank=(False, "", "p7"), labels={"app": "a3"}))
    index.take()
    assert address not in index.posts
    set_pod(index, 200, "r2", 7)  # the Pod that has it now
    index.take()
    assert index.posts[address].pod == ("ns", "p200")
    groups = index.everything().groups
    assert [one for one in groups if index.has(one, address)] == [
        one for one in groups if str(address) in {str(each) for each in index.addresses(one)}
    ]


def test_an_address_is_its_owners_whatever_the_api_says_late() -> None:
    """Neither a change of the Pod that had it, nor its first status, which comes late."""
    index = filled(5)
    address = ip_address("10.1.0.7")
    index.release(address, "p200")
    set_pod(index, 7, "r3")  # its container has ended, but its status still has the address
    set_pod(index, 201, "r1", 7)
    index.take()
    assert address not in index.posts
    assert ip_address("fd00::8") in index.posts
    set_pod(index, 200, "r2", 7)
    set_pod(index, 7, "r1")
    index.take()
    assert index.posts[address].pod == ("ns", "p200")
    set_pod(index, 200, None)  # its owner is gone: whoever tells of it next may have it
    set_pod(index, 7, "r2")
    index.take()
    assert index.posts[address].pod == ("ns", "p7")


def test_a_container_made_anew_for_the_same_pod_keeps_its_address() -> None:
    index = filled(5)
    address = ip_address("10.1.0.7")
    index.release(address, "p7")
    index.take()
    assert index.posts[address].pod == ("ns", "p7")


def test_an_owner_that_ends_before_it_tells_of_its_address_owns_it_no_more() -> None:
    index = filled(5)
    address = ip_address("10.1.0.7")
    index.release(address, "p200")
    index.forget_owner("p200")
    set_pod(index, 7, "r3")
    index.take()
    assert index.posts[address].pod == ("ns", "p7")


def test_a_pod_whose_container_is_made_anew_keeps_its_address() -> None:
    index = filled(5)
    address = ip_address("10.1.0.7")
    index.release(address)
    set_pod(index, 7, "r3")
    index.take()
    assert index.posts[address].pod == ("ns", "p7")
