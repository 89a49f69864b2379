"""Services: the allocated values, and the refused requests."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from ipaddress import ip_network
from random import Random
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.api.kinds import SERVICE
from control.server.access.authn import Authenticator
from control.server.app import serve
from control.server.state.server import ApiServerConfig, Network
from control.server.verbs.allocation.claims import claims_of
from control.server.verbs.allocation.families import with_families
from control.server.verbs.allocation.pick import free_ip, free_port, usable
from control.store.memory import MemoryStore
from tests.support.control.requests import CORE, MERGE, Api, service

PATH = f"{CORE}/services"
DUAL = ("10.96.0.0/16", "fd00:10:96::/112")


@pytest.fixture
async def dual() -> AsyncIterator[Api]:
    bound = socket.create_server(("127.0.0.1", 0))
    config = ApiServerConfig(service_cidrs=tuple(ip_network(cidr) for cidr in DUAL))
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    store = MemoryStore()
    known = Authenticator(trusting=True)
    async with (
        serve(store, [bound], config=config, authenticator=known) as state,
        aiohttp.ClientSession(url) as session,
    ):
        yield Api(session, state)
    await store.close()


async def spec_of(api: Api, **spec: Any) -> dict[str, Any]:
    return dict((await api.make(PATH, service(**spec)))["spec"])


async def refusal(api: Api, **spec: Any) -> str:
    reply = await api("POST", PATH, service(**spec))
    assert reply.code == 422, reply
    return str(reply["message"])


async def test_defaults(api: Api):
    spec = await spec_of(
        api, ports=[{"port": 80, "targetPort": "http"}, {"port": 443, "name": "b"}][:1]
    )
    assert spec.pop("clusterIP") == spec.pop("clusterIPs")[0]
    assert spec == {
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": "http"}],
    }


async def test_many_services_get_distinct_values(api: Api):
    made = await asyncio.gather(
        *(api.make(PATH, service(f"s{n}", type="NodePort")) for n in range(40))
    )
    assert len({item["spec"]["clusterIP"] for item in made}) == 40
    assert len({item["spec"]["ports"][0]["nodePort"] for item in made}) == 40


async def test_a_service_may_choose_its_address(api: Api):
    assert (await spec_of(api, clusterIP="10.96.7.7"))["clusterIPs"] == ["10.96.7.7"]
    reply = await api("POST", PATH, service("t", clusterIP="10.96.7.7"))
    assert reply["message"] == (
        'Service "t" is invalid: spec.clusterIPs: Invalid value: ["10.96.7.7"]: failed to'
        " allocate IP 10.96.7.7: provided IP is already allocated"
    )


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"clusterIP": "10.97.0.1"}, "the provided network does not match the current range"),
        ({"clusterIP": "10.96.0.0"}, "The range of valid IPs is 10.96.0.0/16"),
        ({"clusterIP": "nonsense"}, "must be a valid IP address"),
        ({"clusterIP": "fd00::1"}, "IPv6 is not configured on this cluster"),
        ({"ipFamilies": ["IPv6"]}, 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured'),
        ({"ipFamilyPolicy": "RequireDualStack"}, "this cluster is not configured for dual-stack"),
        ({"ipFamilyPolicy": "Both"}, 'Unsupported value: "Both"'),
        ({"type": "Cluster"}, 'spec.type: Unsupported value: "Cluster": supported values: '),
        ({"ports": []}, "spec.ports: Required value"),
        ({"ports": [{"port": 0}]}, "must be between 1 and 65535, inclusive"),
        ({"ports": [{"port": 1}, {"port": 2}]}, "spec.ports[0].name: Required value"),
        ({"ports": [{"port": 80, "nodePort": 30000}]}, "may not be used when `type` is"),
        (
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]},
            "provided port is not in the valid range. The range of valid ports is 30000-32767",
        ),
        ({"type": "NodePort", "clusterIP": "None"}, "may not be set to 'None' for NodePort"),
        ({"type": "ExternalName"}, "spec.externalName: Required value"),
        ({"sessionAffinity": "Sticky"}, "spec.sessionAffinity: Unsupported value"),
        ({"externalTrafficPolicy": "Local"}, "may only be set for externally-accessible services"),
        ({"externalIPs": ["127.0.0.1"]}, "may not be in the loopback range"),
    ],
)
async def test_refusals(api: Api, spec: Mapping[str, Any], text: str):
    assert text in await refusal(api, **spec)


async def test_a_headless_service_gets_no_address(api: Api):
    headless = await spec_of(api, clusterIP="None", selector={"a": "b"})
    assert (headless["clusterIPs"], headless["ipFamilies"]) == (["None"], ["IPv4"])


async def test_an_external_name_service_gets_no_addresses(api: Api):
    spec = await spec_of(api, type="ExternalName", externalName="example.com")
    assert "clusterIP" not in spec
    assert "ipFamilies" not in spec


async def test_the_same_port_over_two_protocols_shares_a_node_port(api: Api):
    ports = [
        {"name": "a", "port": 53, "protocol": "TCP"},
        {"name": "b", "port": 53, "protocol": "UDP"},
    ]
    spec = await spec_of(api, type="NodePort", ports=ports)
    assert len({port["nodePort"] for port in spec["ports"]}) == 1


async def test_a_local_load_balancer_gets_a_health_port(api: Api):
    spec = await spec_of(api, type="LoadBalancer", externalTrafficPolicy="Local")
    assert spec["healthCheckNodePort"] != spec["ports"][0]["nodePort"]
    assert spec["allocateLoadBalancerNodePorts"] is True


async def test_an_update_keeps_allocated_values(api: Api):
    made = await api.make(PATH, service(type="NodePort"))
    spec = made["spec"]
    body = service(type="NodePort", selector={"a": "b"})
    updated = await api("PUT", f"{PATH}/s", body)
    assert updated["spec"]["clusterIP"] == spec["clusterIP"]
    assert updated["spec"]["ports"] == spec["ports"]


async def test_an_address_does_not_change(api: Api):
    await api.make(PATH, service())
    changed = {"spec": {"clusterIP": "10.96.9.9", "clusterIPs": ["10.96.9.9"]}}
    reply = await api("PATCH", f"{PATH}/s", changed, MERGE)
    assert reply["message"] == (
        'Service "s" is invalid: spec.clusterIPs[0]: Invalid value: ["10.96.9.9"]:'
        " may not change once set"
    )


async def test_a_changed_service_type_drops_its_unused_fields(api: Api):
    made = await api.make(PATH, service(type="NodePort"))
    port = made["spec"]["ports"][0]["nodePort"]
    plain = await api("PATCH", f"{PATH}/s", {"spec": {"type": "ClusterIP"}}, MERGE)
    assert "nodePort" not in plain["spec"]["ports"][0]
    assert "externalTrafficPolicy" not in plain["spec"]
    name = {"spec": {"type": "ExternalName", "externalName": "example.com"}}
    named = await api("PATCH", f"{PATH}/s", name, MERGE)
    assert "clusterIP" not in named["spec"]
    assert not [claim for claim in api.state.cache.claims if str(port) in claim]
    assert len(api.state.cache.claims) == 1  # the kubernetes Service's address
    back = await api(
        "PATCH", f"{PATH}/s", {"spec": {"type": "NodePort", "externalName": None}}, MERGE
    )
    assert back["spec"]["clusterIP"].startswith("10.96.")


@pytest.mark.parametrize(
    ("spec", "families"),
    [
        ({}, ["IPv4"]),
        ({"ipFamilies": ["IPv6"]}, ["IPv6"]),
        ({"ipFamilyPolicy": "PreferDualStack"}, ["IPv4", "IPv6"]),
        ({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]}, ["IPv6", "IPv4"]),
        ({"clusterIP": "fd00:10:96::7"}, ["IPv6"]),
        ({"clusterIP": "None"}, ["IPv4", "IPv6"]),
        ({"clusterIP": "None", "selector": {"a": "b"}}, ["IPv4"]),
    ],
)
async def test_families(dual: Api, spec: Mapping[str, Any], families: list[str]):
    made = await spec_of(dual, **spec)
    assert made["ipFamilies"] == families
    if made["clusterIP"] != "None":
        kinds = ["IPv6" if ":" in ip else "IPv4" for ip in made["clusterIPs"]]
        assert kinds == families


async def test_a_second_family_can_be_added_and_released(dual: Api):
    made = await dual.make(PATH, service())
    first = made["spec"]["clusterIP"]
    both = await dual("PATCH", f"{PATH}/s", {"spec": {"ipFamilyPolicy": "PreferDualStack"}}, MERGE)
    assert both["spec"]["ipFamilies"] == ["IPv4", "IPv6"]
    assert both["spec"]["clusterIPs"][0] == first
    one = await dual("PATCH", f"{PATH}/s", {"spec": {"ipFamilyPolicy": "SingleStack"}}, MERGE)
    assert one["spec"]["clusterIPs"] == [first]
    assert not [claim for claim in dual.state.cache.claims if "fd00" in claim]
    text = await refusal(dual, clusterIPs=["10.96.1.1", "10.96.1.2"], clusterIP="10.96.1.1")
    assert "no more than one IP for each IP family" in text


NETWORKS = st.sampled_from([ip_network(c) for c in ("10.0.0.0/29", "10.96.0.0/16", "fd00::/120")])


@given(NETWORKS, st.integers(), st.sets(st.integers(0, 300)))
def test_a_free_address_is_free_and_within(network: Network, seed: int, used: set[int]):
    first, last = usable(network)
    taken = {str(network[n]) for n in used if n < network.num_addresses}
    ip = free_ip(network, taken.__contains__, Random(seed))
    if ip is None:
        assert all(str(network[n]) in taken for n in range(1, last - first + 2))
    else:
        assert ip not in taken
        assert first <= int(type(network.network_address)(ip)) <= last


@given(st.integers(), st.sets(st.integers(30000, 30019)))
def test_free_ports_are_found_until_the_range_is_full(seed: int, taken: set[int]):
    port = free_port(range(30000, 30020), taken.__contains__, Random(seed))
    assert (port is None) == (len(taken) == 20)
    assert port is None or (port in range(30000, 30020) and port not in taken)


def test_the_lower_band_is_left_to_users():
    network = ip_network("10.96.0.0/16")
    picked = {free_ip(network, lambda _: False, Random(n)) for n in range(500)}
    assert min(int(ip_network(ip).network_address) for ip in picked if ip) > int(network[256])


@given(
    st.sampled_from([None, "SingleStack", "PreferDualStack", "RequireDualStack"]),
    st.lists(st.sampled_from(["IPv4", "IPv6"]), max_size=2, unique=True),
    st.sampled_from([("IPv4",), ("IPv6",), ("IPv4", "IPv6"), ("IPv6", "IPv4")]),
)
def test_families_are_the_clusters_and_stay(
    policy: str | None, families: list[str], cluster: tuple[str, ...]
):
    spec = {"type": "ClusterIP", "ipFamilies": families} | (
        {"ipFamilyPolicy": policy} if policy else {}
    )
    made, found = with_families(spec, None, cluster)
    if found:
        return
    assert set(made["ipFamilies"]) <= set(cluster)
    assert made["ipFamilies"][: len(families)] == families
    assert len(made["ipFamilies"]) == (
        1 if made["ipFamilyPolicy"] == "SingleStack" else len(cluster)
    )
    again, found = with_families(made, made, cluster)
    assert (again, found) == (made, [])


def test_claims_are_of_services_only():
    wire = {"spec": {"clusterIPs": ["10.0.0.1"], "ports": [{"nodePort": 30000}]}}
    assert claims_of(SERVICE, wire).keys == {
        "/registry/networking.k8s.io/ipaddresses/10.0.0.1",
        "/claims/port/30000",
    }
    assert claims_of(SERVICE, {"spec": {"clusterIPs": ["None"]}}).keys == set()
