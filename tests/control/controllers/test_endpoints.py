"""EndpointSlices and Endpoints: their Pods, conditions and ports, and the number of writes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.api import kinds
from control.api.pod import Pod
from control.api.service import Endpoints, EndpointSlice, Service, SliceEndpoint
from control.controllers.actions import Create, Delete, Update
from control.controllers.endpoints.legacy import OVER_CAPACITY, EndpointsController
from control.controllers.endpoints.mirror import SKIP, MirroringController
from control.controllers.endpoints.packing import identity, pack
from control.controllers.endpoints.planes import BESIDE, BesideServersController
from control.controllers.endpoints.slices import EndpointSliceController
from control.controllers.endpoints.writing import MANAGED_BY
from tests.support.control.cluster import ready_node
from tests.support.control.simulate import Simulation

SLICES, LEGACY = EndpointSliceController(), EndpointsController()
BESIDES = BesideServersController()


def service(**spec: Any) -> Service:
    defaults = {
        "selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        "clusterIP": "10.96.0.9",
        "ipFamilies": ["IPv4"],
    }
    labels = {"team": "a"}
    return Service.parse(
        {
            "metadata": {"name": "web", "namespace": "default", "labels": labels},
            "spec": defaults | spec,
        }
    )


def pod(name: str, ip: str | None = "10.0.0.1", *, ready: bool = True, **more: Any) -> Pod:
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]}
    if ip:
        status |= {"podIP": ip, "podIPs": [{"ip": ip}, {"ip": f"fd00::{ip.split('.')[-1]}"}]}
    metadata = {"name": name, "namespace": "default", "labels": {"app": "web"}}
    spec = {"nodeName": "n1", "containers": [{"name": "c"}]} | more.pop("spec", {})
    return Pod.parse(
        {
            "metadata": metadata | more.pop("metadata", {}),
            "spec": spec,
            "status": status | more.pop("status", {}),
        }
    )


def simulated(*items: Any) -> Simulation:
    zone = {"topology.kubernetes.io/zone": "z1"}
    sim = Simulation(ready_node("n1", **zone), *items)
    sim.settle(SLICES, LEGACY)
    return sim


def slices(sim: Simulation) -> list[EndpointSlice]:
    return sorted(sim.cluster[kinds.ENDPOINT_SLICE], key=lambda s: s.address_type)


def test_a_ready_pod_is_an_endpoint_with_all_fields():
    sim = simulated(service(), pod("a"))
    (found,) = slices(sim)
    assert found.address_type == "IPv4"
    assert found.metadata.labels == {
        "team": "a",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    (port,) = found.ports
    assert (port.name, port.port, port.protocol) == ("http", 8080, "TCP")
    (end,) = found.endpoints
    assert (end.addresses, end.node_name, end.zone) == (["10.0.0.1"], "n1", "z1")
    assert end.target_ref.name == "a" and end.target_ref.uid == sim.pods()[0].metadata.uid
    assert (end.conditions.ready, end.conditions.serving, end.conditions.terminating) == (
        True,
        True,
        False,
    )
    assert found.metadata.owner_references[0].name == "web"


GOING = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}


@pytest.mark.parametrize(
    ("change", "spec", "conditions"),
    [
        ({"ready": False}, {}, (False, False, False)),
        (GOING, {}, (False, True, True)),
        (GOING | {"ready": False}, {}, (False, False, True)),
        ({"ready": False}, {"publishNotReadyAddresses": True}, (True, False, False)),
        (GOING, {"publishNotReadyAddresses": True}, (True, True, True)),
    ],
)
def test_conditions(change, spec, conditions):
    (end,) = slices(simulated(service(**spec), pod("a", **change)))[0].endpoints
    found = end.conditions
    assert (found.ready, found.serving, found.terminating) == conditions


@pytest.mark.parametrize(
    "outside",
    [
        pod("b", None),
        pod("b", status={"phase": "Succeeded"}),
        pod("b", metadata={"labels": {"app": "other"}}),
        pod("b", metadata={"namespace": "elsewhere"}),
        pod("b", spec={"nodeName": "unknown"}),
    ],
)
def test_pods_that_are_no_endpoints(outside):
    found = slices(simulated(service(), pod("a"), outside))
    assert [e.target_ref.name for s in found for e in s.endpoints] == ["a"]


def test_dual_stack_has_a_slice_for_each_family():
    four, six = slices(simulated(service(ipFamilies=["IPv6", "IPv4"]), pod("a")))
    assert (four.address_type, four.endpoints[0].addresses) == ("IPv4", ["10.0.0.1"])
    assert (six.address_type, six.endpoints[0].addresses) == ("IPv6", ["fd00::1"])


def test_a_removed_family_loses_its_slices():
    sim = simulated(service(ipFamilies=["IPv4", "IPv6"]), pod("a"))
    sim.put(sim.get(service()).model_copy(update={"spec": service().spec}))
    sim.settle(SLICES)
    assert [s.address_type for s in slices(sim)] == ["IPv4"]


def named(name: str, number: int) -> dict[str, Any]:
    ports = [{"name": "web", "containerPort": number}]
    return {"spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": ports}]}}


def test_named_ports_are_each_pods_own():
    ports = [{"name": "http", "port": 80, "targetPort": "web"}]
    sim = simulated(
        service(ports=ports),
        pod("a", "10.0.0.1", **named("web", 1)),
        pod("b", "10.0.0.2", **named("web", 2)),
        pod("c", "10.0.0.3"),  # this Pod has no port of that name
    )
    found = {
        tuple(p.port for p in s.ports): [e.target_ref.name for e in s.endpoints]
        for s in slices(sim)
    }
    assert found == {(1,): ["a"], (2,): ["b"], (): ["c"]}


def test_headless_services_name_their_pods():
    host = {"spec": {"nodeName": "n1", "containers": [], "hostname": "db-0", "subdomain": "web"}}
    sim = simulated(service(clusterIP="None", ports=[]), pod("a", **host))
    (found,) = slices(sim)
    assert found.metadata.labels["service.kubernetes.io/headless"] == ""
    assert found.endpoints[0].hostname == "db-0" and found.ports == []
    (endpoints,) = sim.cluster[kinds.ENDPOINTS]
    assert endpoints.subsets[0].addresses[0].hostname == "db-0"


def test_without_a_selector_nothing_is_touched():
    assert not slices(simulated(service(selector={}), pod("a")))
    assert not slices(simulated(service(type="ExternalName", externalName="x"), pod("a")))


def test_a_service_without_pods_has_one_empty_slice_that_is_used_later():
    sim = simulated(service())
    (empty,) = slices(sim)
    assert (empty.endpoints, empty.ports) == ([], [])
    sim.create(pod("a"))
    sim.settle(SLICES)
    (used,) = slices(sim)
    assert used.metadata.uid == empty.metadata.uid and len(used.endpoints) == 1


def test_unchanged_services_cause_no_writes():
    sim = simulated(service(ipFamilies=["IPv4", "IPv6"]), pod("a"))
    assert not list(SLICES.reconcile(sim.cluster, service().key, sim.now))
    assert not list(LEGACY.reconcile(sim.cluster, service().key, sim.now))


def test_traffic_distribution_becomes_hints():
    (near,) = slices(simulated(service(trafficDistribution="PreferClose"), pod("a")))
    assert [z.name for z in near.endpoints[0].hints.for_zones] == ["z1"]
    (same,) = slices(simulated(service(trafficDistribution="PreferSameNode"), pod("a")))
    assert [n.name for n in same.endpoints[0].hints.for_nodes] == ["n1"]


def test_endpoints_show_ready_and_not_ready():
    unready = pod("c", "10.0.0.3", ready=False)
    going = pod("d", "10.0.0.4", **GOING)
    sim = simulated(service(), pod("a", "10.0.0.2"), pod("b", "10.0.0.1"), unready, going)
    (found,) = sim.cluster[kinds.ENDPOINTS]
    (subset,) = found.subsets
    assert [a.ip for a in subset.addresses] == ["10.0.0.1", "10.0.0.2"]
    assert [a.ip for a in subset.not_ready_addresses] == ["10.0.0.3"]
    assert [(p.name, p.port) for p in subset.ports] == [("http", 8080)]


def test_endpoints_end_at_a_thousand_ready_first():
    many = [pod(f"p{i:04}", f"10.1.{i // 250}.{i % 250}", ready=i != 0) for i in range(1002)]
    sim = simulated(service(), *many)
    (found,) = sim.cluster[kinds.ENDPOINTS]
    assert found.metadata.annotations[OVER_CAPACITY] == "truncated"
    (subset,) = found.subsets
    assert len(subset.addresses) == 1000 and not subset.not_ready_addresses
    assert sorted(len(s.endpoints) for s in slices(sim)) == [2] + [100] * 10


def test_endpoints_are_deleted_with_their_service():
    sim = simulated(service(), pod("a"))
    sim.drop(service())
    sim.settle(LEGACY)
    assert not list(sim.cluster[kinds.ENDPOINTS])


MIRROR = MirroringController()


def by_hand(*ips: str, **meta: Any) -> Endpoints:
    subset = {"addresses": [{"ip": ip} for ip in ips], "ports": [{"name": "http", "port": 9}]}
    return Endpoints.parse(
        {"metadata": {"name": "web", "namespace": "default"} | meta, "subsets": [subset]}
    )


def mirrored(*items: Any) -> list[EndpointSlice]:
    sim = Simulation(*items)
    sim.settle(MIRROR, SLICES, LEGACY)
    return slices(sim)


def test_hand_written_endpoints_become_slices():
    four, six = mirrored(service(selector={}), by_hand("10.9.9.9", "fd00::9"))
    assert (four.address_type, four.endpoints[0].addresses) == ("IPv4", ["10.9.9.9"])
    assert (six.address_type, six.ports[0].port) == ("IPv6", 9)
    assert four.metadata.labels["kubernetes.io/service-name"] == "web"
    assert four.metadata.labels[MANAGED_BY] == "endpointslicemirroring-controller.k8s.io"


@pytest.mark.parametrize(
    "items",
    [
        [by_hand("10.9.9.9")],
        [service(selector={}), by_hand("10.9.9.9", labels={SKIP: "true"})],
    ],
    ids=["no Service", "not wanted"],
)
def test_endpoints_that_are_not_mirrored(items):
    assert not mirrored(*items)


def test_mirrored_slices_end_when_the_service_gets_a_selector():
    sim = Simulation(service(selector={}), by_hand("10.9.9.9"))
    sim.settle(MIRROR)
    sim.put(sim.get(service()).model_copy(update={"spec": service().spec}))
    sim.settle(MIRROR)
    assert not slices(sim)


def test_an_invalid_address_does_not_hide_the_others():
    (found,) = slices(simulated(service(), pod("a"), pod("b", "nonsense")))
    assert [e.target_ref.name for e in found.endpoints] == ["a"]


def ends(*numbers: int) -> list[SliceEndpoint]:
    return [SliceEndpoint(addresses=[f"10.0.{n // 256}.{n % 256}"]) for n in numbers]


def packed(name: str, *numbers: int) -> EndpointSlice:
    return EndpointSlice.parse({"metadata": {"name": name}}).model_copy(
        update={"endpoints": ends(*numbers)}
    )


def result(packing) -> list[list[SliceEndpoint]]:
    kept = [s.endpoints for s in packing.keep]
    return [*kept, *(list(e) for _, e in packing.change), *map(list, packing.add)]


def test_one_more_goes_into_the_fullest_slice_with_room():
    have = [packed("a", 1, 2), packed("b", 3), packed("c", 4, 5, 6)]
    found = pack(have, ends(1, 2, 3, 4, 5, 6, 7), 3)
    assert [s.metadata.name for s, _ in found.change] == ["a"] and not found.add


def test_a_slice_that_is_written_anyway_is_filled_first():
    have = [packed("a", 1, 2), packed("b", 3, 4)]
    found = pack(have, ends(1, 3, 4, 5), 3)
    assert [s.metadata.name for s, _ in found.change] == ["a"] and len(found.keep) == 1


layouts = st.lists(st.sets(st.integers(0, 40), max_size=5), max_size=6)


@given(layouts, st.sets(st.integers(0, 40)), st.integers(1, 5))
def test_every_wanted_endpoint_is_in_exactly_one_slice(layout, want, most):
    seen: set[int] = set()
    have = []
    for index, numbers in enumerate(layout):
        have.append(packed(f"s{index}", *sorted(numbers - seen)[:most]))
        seen |= numbers
    found = pack(have, ends(*sorted(want)), most)
    after = result(found)
    placed = [identity(endpoint) for endpoints in after for endpoint in endpoints]
    assert sorted(placed) == sorted(map(identity, ends(*want)))
    assert all(0 < len(endpoints) <= most for endpoints in after)
    touched = {s.metadata.name for s, _ in found.change} | {s.metadata.name for s in found.drop}
    for slice_ in have:  # full slices that lost no endpoint were not written
        numbers = {identity(e) for e in slice_.endpoints}
        if numbers <= {identity(e) for e in ends(*want)} and len(numbers) == most:
            assert slice_.metadata.name not in touched


@given(st.lists(st.sets(st.integers(0, 250)), min_size=1, max_size=6))
def test_slices_settle_in_one_round_after_any_history(story):
    sim = Simulation(ready_node("n1"), service())
    controller = EndpointSliceController(most=10)
    for numbers in story:
        want = {f"p{n}": f"10.0.{n // 250}.{n % 250}" for n in numbers}
        for held in sim.pods():
            if held.metadata.name not in want:
                sim.apply(Delete(kinds.POD, held))
        known = {held.metadata.name for held in sim.pods()}
        for name in want.keys() - known:
            sim.create(pod(name, want[name]))
        for action in list(controller.reconcile(sim.cluster, service().key, sim.now)):
            assert isinstance(action, (Create, Update, Delete))
            sim.apply(action)
        assert not list(controller.reconcile(sim.cluster, service().key, sim.now))
        found = [e.addresses[0] for s in slices(sim) for e in s.endpoints]
        assert sorted(found) == sorted(want.values())


def of_servers(*addresses: str) -> EndpointSlice:
    endpoints = [{"addresses": [each], "conditions": {"ready": True}} for each in addresses]
    labels = {"kubernetes.io/service-name": "kubernetes"}
    meta = {"name": "kubernetes", "namespace": "default", "labels": labels}
    return EndpointSlice.parse({"metadata": meta, "endpoints": endpoints})


def beside(name: str, server: str, address: str) -> EndpointSlice:
    meta = {"name": name, "namespace": "kube-system", "annotations": {BESIDE: server}}
    endpoint = {"addresses": [address], "conditions": {"ready": True}}
    return EndpointSlice.parse({"metadata": meta, "endpoints": [endpoint]})


def readiness(sim: Simulation) -> dict[str, bool | None]:
    held = [s for s in sim.cluster[kinds.ENDPOINT_SLICE] if s.metadata.namespace == "kube-system"]
    return {s.metadata.name: e.conditions.ready for s in held for e in s.endpoints}


def test_what_is_beside_an_api_server_is_ready_while_that_serves():
    """Its second family, too: the server has one address."""
    slices = [
        beside("one", "192.0.2.1", "192.0.2.1"),
        beside("one-6", "192.0.2.1", "2001:db8::1"),
        beside("two", "192.0.2.2", "192.0.2.2"),
    ]
    sim = Simulation(*slices, of_servers("192.0.2.1", "192.0.2.2"))
    assert not [*sim.pending(BESIDES)]
    sim.put(of_servers("192.0.2.2"))
    sim.settle(BESIDES)
    assert readiness(sim) == {"one": False, "one-6": False, "two": True}
    sim.put(of_servers())
    sim.settle(BESIDES)
    assert readiness(sim)["two"], "nobody knows better: nothing changes"
    sim.put(of_servers("192.0.2.1"))
    sim.settle(BESIDES)
    assert readiness(sim) == {"one": True, "one-6": True, "two": False}
