"""A big table that is made past libnftables is the one that libnftables makes."""

import re
from collections.abc import Callable, Iterator

import pytest

from control.client.stream import read_object
from proxy.backends.nftables import backend, bulk
from proxy.backends.nftables.objects import TABLE, Draws, Element
from proxy.desired.tracker import Tracker
from proxy.model.errors import KernelRefusedError
from proxy.model.values import Family
from proxy.objects.feed import ObjectReader
from proxy.objects.wire import ENDPOINT_SLICE, SERVICE
from tests.support.cni.worker import Worker
from tests.support.proxy.hostile import endpoints, service
from tests.support.proxy.strategies import NODE, SETTINGS
from tests.support.space import Space

VARIANTS = (
    {},
    {"externalTrafficPolicy": "Local"},
    {"internalTrafficPolicy": "Local"},
    {"sessionAffinity": "ClientIP"},
    {"loadBalancerSourceRanges": []},
)
STORES = {"services", "inside", "outside", "refused", "cluster-ips", "hairpin", "filtered"}
STORES |= {f"port-{name}" for name in ("services", "inside", "outside", "refused")}
STORES |= {f"{side}backends-{count}" for side in ("", "port-", "inside-") for count in (1, 2)}


def tracker() -> Tracker:
    """Return Services of every kind, of both families, with zero to two endpoints."""
    made, read = Tracker(NODE, tuple(Family)), ObjectReader("n1", "")
    for number in range(90):
        web = service(number)
        web["spec"]["externalIPs"].append(f"2001:db8:1::{number + 1:x}")
        web["spec"]["loadBalancerSourceRanges"].append("fd00:1::/64")
        web["status"]["loadBalancer"]["ingress"].append({"ip": f"2001:db8:2::{number + 1:x}"})
        web["spec"] |= VARIANTS[number % len(VARIANTS)]
        web["metadata"]["annotations"] = {}
        for place, port in enumerate(web["spec"]["ports"]):
            port["nodePort"] = 30000 + 2 * number + place
        kept = read.service(read_object(SERVICE, web))
        made.set_service(kept.key, kept.value)
        for version, first in (("IPv4", "10.244.1."), ("IPv6", "fd00:10:244:1::")):
            behind = endpoints(number)
            behind["metadata"]["name"] += version.lower()
            behind["addressType"] = version
            behind["endpoints"] = [
                {
                    "addresses": [f"{first}{1 + number + 100 * place}"],
                    "nodeName": f"n{number % 2 + 1}",
                }
                for place in range(number % 3)
            ]
            part = read.slice(read_object(ENDPOINT_SLICE, behind))
            made.set_slice(part.key, part.value)
    return made


def make(least: int) -> dict[Family, int]:
    """In the namespace: make both tables; those of ``least`` objects in steps.

    Returns how many elements went past libnftables.
    """
    backend.BIG, written = least, {family: 0 for family in Family}

    def writing(family: Family, elements: list[Element | Draws]) -> Callable[[], None]:
        written[family] = sum(len(one.targets) if isinstance(one, Draws) else 1 for one in elements)
        assert {one.store for one in elements} >= STORES
        return bulk.prepare(family, elements)

    nftables = backend.NftablesBackend(SETTINGS)
    for family in nftables._families:
        family._writing = writing
    nftables.apply(tracker().desired(), NODE)
    return written


def refused(family: Family) -> str:
    """In the namespace: the error for an element of a map that is not there."""
    try:
        bulk.prepare(family, [Element("nowhere", "10.0.0.1")])()
    except KernelRefusedError as err:
        return str(err)
    return ""


def remove() -> None:
    """In the namespace."""
    backend.NftablesBackend(SETTINGS).remove()


@pytest.fixture
def node(spaces: Callable[[str], Space]) -> Iterator[tuple[Space, Worker]]:
    space = spaces("bulk")
    worker = Worker(space)
    yield space, worker
    worker.stop()


def listed(space: Space, family: str) -> list[str]:
    """Return the parts of a table's listing; elements have no order."""
    text = space.run("nft", "list", "table", family, TABLE)
    return sorted(part.strip() for part in re.split(r"[,{}\n]", text))


def test_both_ways_make_the_same_tables(node: tuple[Space, Worker]) -> None:
    space, worker = node
    assert worker.call(make, 1_000_000) == {Family.V4: 0, Family.V6: 0}
    plain = {family: listed(space, family) for family in ("ip", "ip6")}
    worker.call(remove)
    written = worker.call(make, 0)
    assert min(written.values()) > 500
    for family, parts in plain.items():
        assert listed(space, family) == parts


def test_a_refused_element_is_named_by_the_kernels_reason(node: tuple[Space, Worker]) -> None:
    _, worker = node
    assert "nft: elements are refused: No such file" in worker.call(refused, Family.V4)
