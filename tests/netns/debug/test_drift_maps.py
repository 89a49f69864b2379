"""Maps of eBPF programs that a proxy has written, and its policies: damaged by hand, named."""

import json
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

import pytest
from msgspec.structs import replace

from debug.cluster import ClusterState, Names
from debug.drift.cli import changes
from debug.drift.find import find
from debug.drift.model import Drift
from debug.drift.model import State as DriftState
from debug.explain.programs import Programs, SavedPrograms
from debug.explain.result import Branch, ends, every_hop
from debug.explain.saved import SavedSpaces
from debug.explain.space import Spaces
from debug.explain.walk import Walk
from debug.places import Ground, Place
from debug.ruleset.packet import TCP, State, make
from debug.snapshot import Snapshot, load, save, take
from proxy.backends.ebpf.layout import pack_address, pack_frontend
from proxy.backends.ebpf.libbpf import BpfMap, Libbpf, pinned
from proxy.backends.ebpf.mounts import MAPS
from proxy.backends.ebpf.policy import PEERS, POSTS, AdmissionMaps, Guard, pin_name
from proxy.model.values import Family, Protocol
from proxy.objects.wire import EndpointSlice, Node, Service
from proxy.policy.wire import Namespace, NetworkPolicy, Pod
from tests.support.groups import group
from tests.support.proxy.policies import namespace, policy
from tests.support.proxy.policy_calls import PODS, RANGES, A, P
from tests.support.proxy.process import NODE, PATIENCE, VIP, RunningProxy, service, slices
from tests.support.space import Space

SIZES = {"frontends": (20, 48), "endpoints": (8, 20), PEERS: (20, 1), POSTS: (16, 16)}
CLIENTS = [{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}]
ALLOW = policy("allow", {"app": "a"}, ingress=CLIENTS)
KEPT = ("10.96.0.20", "fd00:10:96::20")
STICKY = service(
    *("sticky", KEPT),
    sessionAffinity="ClientIP",
    sessionAffinityConfig={"clientIP": {"timeoutSeconds": 600}},
)
NODE_WIRE = NODE | {"spec": RANGES}
STATE = ClusterState(
    nodes=(Node.read(NODE_WIRE),),
    pods=tuple(map(Pod.read, PODS)),
    namespaces=(Namespace.read(namespace("ns")),),
    services=(Service.read(service()), Service.read(STICKY)),
    slices=tuple(map(EndpointSlice.read, (*slices("a", "b"), *slices("a", "b", name="sticky")))),
    policies=(NetworkPolicy.read(ALLOW),),
)
PLACES = {"A": "10.244.1.2", "B": "10.244.1.3"}
COMPARED = ("map", "rule", "element", "chain", "set", "policy", "proxy")


class World:
    """A node in mode ebpf with policies, and what drift says of it."""

    def __init__(self, spaces: Callable[[str], Space], folder: Path, root: str) -> None:
        self.proxy = RunningProxy(spaces, folder, "ebpf", root)
        self.proxy.put(NODE_WIRE, service(), *slices("a", "b"), namespace("ns"), *PODS, ALLOW)
        self.proxy.put(STICKY, *slices("a", "b", name="sticky"))
        self.proxy.run()
        path = str(self.proxy.lab.spaces["node"].path)
        self.ground = Ground((Place("n1", os.getpid(), path),))

    def explain(self, *, saved: bool = False) -> Branch:
        """What becomes of a call of the Pod p, from its own namespace."""
        pod = Place("n1", os.getpid(), str(self.proxy.lab.spaces["p"].path), ("ns", "p"))
        ground = Ground((*self.ground.places, pod))
        snapshot = take(ground, machines=True, rules=True) if saved else None
        made = SavedSpaces(snapshot) if snapshot else Spaces(ground.places)
        programs = SavedPrograms(snapshot) if snapshot else Programs(ground.places)
        with closing(made) as spaces:
            walk = Walk(spaces, Names(STATE), programs=programs)
            place = next(one for one in spaces.places if one.pod)
            packet = make(P, KEPT[0], TCP, 40_000, 80)
            return walk.begin(spaces.of(place), State(packet))

    def settle(self) -> None:
        """Wait until the proxy has written Services and policies."""
        self.proxy.until({"A", "B"})
        deadline = time.monotonic() + PATIENCE
        while AdmissionMaps().guard() is not Guard.ENFORCING:
            assert time.monotonic() < deadline, self.proxy.log.read_text()
            time.sleep(0.05)

    def snapshot(self) -> Snapshot:
        return replace(take(self.ground, machines=True), cluster=STATE)

    def look(self) -> tuple[Drift, ...]:
        return tuple(one for one in find(self.snapshot()) if one.sort in COMPARED)


@pytest.fixture(scope="module")
def world(
    spaces: Callable[[str], Space], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    with group("driftmaps") as root:
        made = World(spaces, tmp_path_factory.mktemp("maps"), root)
        try:
            made.settle()
            yield made
        finally:
            made.proxy.close()


class Damage:
    """Entries of one map that are changed by hand, and written back."""

    def __init__(self, name: str) -> None:
        self._name, self._pin = name, pin_name(name) if name.startswith("policy") else name

    def __enter__(self) -> BpfMap:
        library = Libbpf()
        fd = pinned(library, MAPS / self._pin)
        assert fd is not None
        self._map = BpfMap(library, fd, self._name, own=True)
        self._before = dict(self._map.entries(*SIZES[self._name]))
        return self._map

    def __exit__(self, *_: object) -> None:
        with closing(self._map) as opened:
            for key in dict(opened.entries(*SIZES[self._name])):
                if key not in self._before:
                    opened.discard(key)
            opened.update(self._before)


WEB = pack_frontend(Family.V4, ip_address(VIP), 80, Protocol.TCP)


def test_what_a_proxy_writes_is_no_drift(world: World) -> None:
    assert world.look() == ()


def test_a_frontend_that_is_gone_has_its_service_as_owner(world: World) -> None:
    with Damage("frontends") as opened:
        opened.discard(WEB)
        (found,) = world.look()
    assert (found.state, found.what) == (DriftState.MISSING, f"map frontends: {VIP}:80/TCP")
    assert found.owner == "Service ns/web" and "nftables' rules" in found.consequence


def test_a_frontend_of_nobody_is_stale(world: World) -> None:
    stranger = pack_frontend(Family.V4, ip_address("10.96.0.99"), 80, Protocol.TCP)
    with Damage("frontends") as opened:
        opened.update({stranger: opened.lookup(WEB, SIZES["frontends"][1])})
        (found,) = world.look()
    assert (found.state, found.owner) == (DriftState.STALE, "no Service")
    assert found.what == "map frontends: 10.96.0.99:80/TCP"


def test_an_endpoint_that_was_bent_is_named_both_ways(world: World) -> None:
    """The one that is missing has its Pod as owner, the one that is there instead has none."""
    with Damage("endpoints") as opened:
        entries = dict(opened.entries(*SIZES["endpoints"]))
        wanted = pack_address(ip_address(A)) + struct.pack("!H", 8080)
        key, value = next(one for one in entries.items() if one[1].startswith(wanted))
        opened.update({key: pack_address(ip_address("10.244.1.77")) + value[16:]})
        found = {one.state: one for one in world.look()}
    assert found.keys() == {DriftState.MISSING, DriftState.STALE}
    assert found[DriftState.MISSING].what.endswith(f": {A}:8080")
    assert found[DriftState.MISSING].owner == "Service ns/web, Pod ns/a"
    assert found[DriftState.STALE].what.endswith(": 10.244.1.77:8080")


def test_an_option_that_was_changed_is_named(world: World) -> None:
    with Damage("frontends") as opened:
        value = opened.lookup(WEB, SIZES["frontends"][1])
        opened.update({WEB: value[:24] + struct.pack("=I", 600) + value[28:]})
        (found,) = world.look()
    assert found.what == f"map frontends: {VIP}:80/TCP: affinity 600, not 0"


def test_what_programs_admit_by_policies_is_compared(world: World) -> None:
    with Damage(PEERS) as opened:
        keys = dict(opened.entries(*SIZES[PEERS]))
        client = next(one for one in keys if one.endswith(pack_address(ip_address(P))))
        opened.discard(client)
        stranger = client[:4] + pack_address(ip_address("10.244.1.3"))
        opened.update({stranger: b"\1"})
        found = {one.state: one for one in world.look()}
    assert found.keys() == {DriftState.MISSING, DriftState.STALE}
    missing, stale = found[DriftState.MISSING], found[DriftState.STALE]
    assert missing.owner == "Pod ns/a, by NetworkPolicy ns/allow"
    assert f"{P} (Pod ns/p)" in missing.what and "10.244.1.3 (Pod ns/b)" in stale.what
    assert "no policy admits" in stale.consequence


def test_a_pod_that_programs_do_not_know_is_missing(world: World) -> None:
    with Damage(POSTS) as opened:
        opened.discard(pack_address(ip_address(A)))
        found = world.look()
    first = next(one for one in found if one.state is DriftState.MISSING)
    assert (first.what, first.owner) == (
        f"map {POSTS}: {A}",
        "Pod ns/a, by NetworkPolicy ns/allow",
    )


def test_watching_tells_damage_and_that_it_was_mended(world: World) -> None:
    damage = Damage("frontends")

    def steps() -> Iterator[bool]:
        damage.__enter__().discard(WEB)
        yield False
        damage.__exit__()
        yield False
        yield True

    turns = steps()
    told = list(changes(world.look, lambda: next(turns)))
    signs = [sign for sign, one in told if one.what == f"map frontends: {VIP}:80/TCP"]
    assert signs == ["+", "-"]


def test_a_client_keeps_the_endpoint_that_programs_remember(world: World) -> None:
    """Before its first call any may be chosen; then one, for the rest of the time."""
    before = world.explain()
    assert [one.probability for one in ends(before)] == [0.5, 0.5]
    assert "has no endpoint yet" in " ".join(hop.text for hop in every_hop(before))
    (name,) = world.proxy.answers(address=KEPT[0], tries=3)
    for saved in (False, True):
        (end,) = ends(world.explain(saved=saved))
        (said,) = {hop.text for hop in every_hop(end) if hop.stage == "socket"}
        assert f"the client keeps {PLACES[name]}:8080 for " in said
        assert 500 < int(said.partition(" for ")[2].split()[0]) <= 600
        assert any(f"> {PLACES[name]}:8080" in hop.packet for hop in every_hop(end))


def test_a_snapshot_keeps_the_maps(world: World, tmp_path: Path) -> None:
    """So drift says the same of a file, on another machine."""
    with Damage("frontends") as opened:
        opened.discard(WEB)
        seen = world.snapshot()
    save(seen, tmp_path / "taken.json")
    again = load(tmp_path / "taken.json")
    assert find(again) == find(seen) and any(one.sort == "map" for one in find(again))


def test_a_set_of_a_policy_that_was_changed_by_hand(world: World) -> None:
    """A proxy repairs its rules at once; here the snapshot is taken, and its text is changed."""
    seen = world.snapshot()
    (machine,) = seen.machines
    items = json.loads(machine.nft or "")["nftables"]
    stores = (one["set"] for one in items if "set" in one)
    (store,) = (one for one in stores if one["name"].startswith("pods-") and P in one["elem"])
    store["elem"].remove(P)
    bent = replace(machine, nft=json.dumps({"nftables": items}))
    (one,) = (one for one in find(replace(seen, machines=(bent,))) if one.sort == "element")
    assert one.state is DriftState.MISSING and "podwire-policy pods-" in one.what
    assert one.owner == "Pod ns/p for Pod ns/a, by NetworkPolicy ns/allow"
