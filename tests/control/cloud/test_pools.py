"""Pools are read as MetalLB writes them; who has an address never shares it unasked."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.api.service import Service
from control.cloud.lab.claims import Claim, claim_of
from control.cloud.lab.ledger import Ledger
from control.cloud.lab.pools import Pool, PoolError, addresses, read_pools
from control.cloud.provider import CloudError


def pool(name: str, *ranges: str, **spec: object) -> str:
    fields = "".join(f"\n  {key}: {value}" for key, value in spec.items())
    return (
        f"apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {{name: {name}}}\n"
        f"spec:\n  addresses: {[*ranges]}{fields}\n"
    )


def pools(*texts: str) -> tuple[Pool, ...]:
    return read_pools("---\n".join(texts))


def free(one: Pool, version: int = 4) -> list[str]:
    return [str(each) for each in addresses(one, version, 0)]


def test_a_pool_has_networks_and_ranges_of_both_families() -> None:
    (one,) = pools(pool("a", "192.0.2.8/30", "192.0.2.1-192.0.2.2", "2001:db8::1-2001:db8::2"))
    assert free(one) == [f"192.0.2.{n}" for n in (1, 2, 8, 9, 10, 11)]
    assert free(one, 6) == ["2001:db8::1", "2001:db8::2"]


def test_a_pool_can_leave_out_what_old_clients_cannot_reach() -> None:
    (one,) = pools(pool("a", "192.0.2.254-192.0.3.1", avoidBuggyIPs="true"))
    assert free(one) == ["192.0.2.254", "192.0.3.1"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (pool("a", "192.0.2.0/33"), "pool a: spec.addresses '192.0.2.0/33'"),
        (pool("a", "192.0.2.9-192.0.2.1"), "the first address is higher"),
        (pool("a", "192.0.2.9-2001:db8::1"), "the first address is higher"),
        (pool("a"), "pool a: spec.addresses is empty"),
        (pool("a", "192.0.2.0/24", autoAssign="5"), "pool a: spec.autoAssign 5"),
        (pool("a", "192.0.2.0/24", priority="5"), "pool a: spec.priority is not supported"),
        (pool("A!", "192.0.2.0/24"), "metadata.name 'A!'"),
        (pool("a", "192.0.2.0/24").replace("v1beta1", "v1"), "want metallb.io/v1beta1"),
        ("kind: Pod", "want objects of kind IPAddressPool"),
        ("- 1", "want objects of kind IPAddressPool"),
        ("a: {", "not YAML"),
        ("x" * (1 << 20) + "x", "more than 1048576 bytes"),
        (pool("a", *(f"10.0.{n // 256}.{n % 256}/32" for n in range(1001))), "at most 1000"),
    ],
)
def test_a_pool_that_is_wrong_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(PoolError) as caught:
        read_pools(text)
    assert named in str(caught.value)


def test_pools_that_overlap_are_refused_by_both_names() -> None:
    with pytest.raises(PoolError) as caught:
        pools(pool("a", "192.0.2.0/25"), pool("b", "192.0.2.100-192.0.2.200"))
    text = str(caught.value)
    assert "pool b: range 192.0.2.100-192.0.2.200 overlaps range 192.0.2.0-192.0.2.127" in text
    with pytest.raises(PoolError, match="pool a: two pools have this name"):
        pools(pool("a", "192.0.2.0/25"), pool("a", "192.0.3.0/25"))


def claim(name: str, versions: tuple[int, ...] = (4,), **more: object) -> Claim:
    return Claim(name, versions, **more)  # type: ignore[arg-type]


def key(name: str) -> tuple[str, str]:
    return "default", name


SMALL = pools(pool("a", "192.0.2.1-192.0.2.2", "2001:db8::1-2001:db8::2"))


def test_an_exhausted_pool_is_named_with_the_remedy_and_a_release_makes_room() -> None:
    ledger = Ledger(SMALL)
    for name in ("x", "y"):
        ledger.give(key(name), claim(name))
    with pytest.raises(CloudError) as caught:
        ledger.give(key("z"), claim("z"))
    assert "no free IPv4 address in pool a (2 addresses); delete a Service" in str(caught.value)
    assert ledger.release(key("x"))
    assert [str(each) for each in ledger.give(key("z"), claim("z"))] == ["192.0.2.1"]


def test_a_refused_second_family_takes_nothing() -> None:
    ledger = Ledger(pools(pool("a", "192.0.2.1-192.0.2.2")))
    with pytest.raises(CloudError, match="no pool has IPv6 addresses"):
        ledger.give(key("x"), claim("x", (4, 6)))
    assert ledger.give(key("y"), claim("y")) == (ip_address("192.0.2.1"),)


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ({"requested": (ip_address("198.51.100.1"),)}, "is in no pool; ask for one of 192.0.2.1-"),
        (
            {"requested": (ip_address("192.0.2.1"),)},
            "192.0.2.1 is taken: it is in use by Service x",
        ),
        ({"requested": (ip_address("192.0.2.2"),), "pool": "b"}, "is in pool a, but annotation"),
        ({"pool": "b"}, "names pool b, which does not exist; the pools: a"),
    ],
)
def test_a_request_that_cannot_be_met_says_why(wanted: dict[str, object], named: str) -> None:
    ledger = Ledger(SMALL)
    ledger.give(key("x"), claim("x"))
    with pytest.raises(CloudError) as caught:
        ledger.give(key("y"), claim("y", **wanted))
    assert named in str(caught.value)


PORTS = {n: frozenset({("TCP", n)}) for n in (80, 443)}


@pytest.mark.parametrize(
    ("other", "shared"),
    [
        ({"key": "k", "ports": PORTS[443]}, True),
        ({"key": "k", "ports": frozenset({("UDP", 80)})}, True),
        ({"key": "k", "ports": PORTS[80]}, False),
        ({"key": "l", "ports": PORTS[443]}, False),
        ({"key": "", "ports": PORTS[443]}, False),
        ({"key": "k", "ports": PORTS[443], "backends": "Local"}, False),
    ],
)
def test_services_share_an_address_by_key_if_their_ports_differ(
    other: dict[str, object], shared: bool
) -> None:
    ledger = Ledger(SMALL)
    first = ledger.give(key("x"), claim("x", key="k", ports=PORTS[80]))
    assert (ledger.give(key("y"), claim("y", **other)) == first) is shared


def test_a_status_of_a_former_process_keeps_its_address() -> None:
    ledger = Ledger(SMALL)
    ledger.show(key("old"), claim("old"), (ip_address("192.0.2.1"),))
    assert ledger.give(key("new"), claim("new")) == (ip_address("192.0.2.2"),)
    assert ledger.give(key("old"), claim("old")) == (ip_address("192.0.2.1"),)


def test_of_two_statuses_with_one_address_the_first_keeps_it() -> None:
    ledger = Ledger(SMALL)
    for name in ("x", "y"):
        ledger.show(key(name), claim(name), (ip_address("192.0.2.1"),))
    assert ledger.give(key("y"), claim("y")) == (ip_address("192.0.2.1"),)
    assert ledger.give(key("x"), claim("x")) == (ip_address("192.0.2.2"),)


STEPS = st.lists(
    st.tuples(
        st.sampled_from("abcdefg"),
        st.sampled_from(["give", "release", "show"]),
        st.sampled_from([(4,), (6,), (4, 6)]),
        st.sampled_from(["", "k"]),
        st.sampled_from([80, 443]),
    ),
    max_size=40,
)


@given(STEPS)
def test_no_history_gives_two_services_one_address_unless_they_may_share(
    steps: list[tuple[str, str, tuple[int, ...], str, int]],
) -> None:
    ledger = Ledger(pools(pool("a", "192.0.2.1-192.0.2.3", "2001:db8::1-2001:db8::3")))
    given_now: dict[str, Claim] = {}
    for name, step, versions, sharing, port in steps:
        wanted = claim(name, versions, key=sharing, ports=PORTS[port])
        if step == "release":
            ledger.release(key(name))
            given_now.pop(name, None)
        elif step == "show":  # an informer tells what was written
            ledger.show(key(name), given_now.get(name), ledger.given(key(name)))
        else:
            try:
                found = ledger.give(key(name), wanted)
            except CloudError:
                continue
            given_now[name] = wanted
            assert tuple(each.version for each in found) == versions
        for one in given_now:
            for other in given_now:
                both = {*ledger.given(key(one))} & {*ledger.given(key(other))}
                if one < other and both:
                    assert given_now[one].shares(given_now[other]) == ""


@given(st.permutations(range(6)), st.integers(0, 5))
def test_the_lowest_free_address_is_given(order: list[int], freed: int) -> None:
    ledger = Ledger(pools(pool("a", "192.0.2.0/29")))
    for n in range(6):
        ledger.give(key(str(n)), claim(str(n)))
    gone = order[: freed + 1]
    for n in gone:
        ledger.release(key(str(n)))
    assert ledger.give(key("x"), claim("x")) == (ip_address(f"192.0.2.{min(gone)}"),)


def service(spec: dict[str, object], **annotations: str) -> Service:
    names = {name.replace("_", "-"): value for name, value in annotations.items()}
    notes = {f"metallb.io/{name}": value for name, value in names.items()}
    meta = {"name": "s", "namespace": "default", "annotations": notes}
    return Service.parse({"metadata": meta, "spec": {"ipFamilies": ["IPv4"]} | spec})


def test_a_service_asks_by_its_field_or_by_annotations() -> None:
    plain = claim_of(service({"loadBalancerIP": "192.0.2.7", "ports": [{"port": 80}]}))
    assert plain.requested == (ip_address("192.0.2.7"),)
    assert plain.ports == {("TCP", 80)}
    both = {"ipFamilies": ["IPv6", "IPv4"], "loadBalancerIP": "192.0.2.7"}
    noted = claim_of(service(both, loadBalancerIPs="192.0.2.8,2001:db8::8", address_pool="p"))
    assert (noted.versions, noted.pool) == ((6, 4), "p")
    assert [str(each) for each in noted.requested] == ["192.0.2.8", "2001:db8::8"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("192.0.2.300", "annotation metallb.io/loadBalancerIPs '192.0.2.300'"),
        ("192.0.2.1,192.0.2.2", "at most one address of each family"),
        ("2001:db8::1", "the Service has no IPv6 address"),
    ],
)
def test_a_wrong_request_is_named(text: str, named: str) -> None:
    with pytest.raises(CloudError) as caught:
        claim_of(service({}, loadBalancerIPs=text))
    assert named in str(caught.value)
