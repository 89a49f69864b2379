"""Parsing: malformed parts are left out and named; nothing else suffers."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.api.wire import UnreadableError, encode
from proxy.model.values import Port, Protocol, Target
from proxy.objects.parse import (
    Complaints,
    parse_address,
    parse_network,
    parse_node,
    parse_service,
    parse_slice,
)
from proxy.objects.wire import EndpointSlice, Node, Service
from tests.support.proxy.hostile import service
from tests.support.proxy.objects import service_with
from tests.support.proxy.strategies import few


def parsed(labels=None, status=None, **spec):
    wire, complaints = service_with(labels, status, **spec)
    return parse_service(wire, complaints)


def test_a_plain_service():
    found = parsed(ports=[{"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP"}])
    assert found.key == ("ns", "web")
    assert found.ports == (Port("http", Protocol.TCP, 80, 30080),)
    assert found.cluster_ips == (ip_address("10.96.0.1"),)
    assert found.affinity is None


def test_dual_stack_takes_both_addresses():
    found = parsed(clusterIPs=["10.96.0.1", "fd00::1"])
    assert found.cluster_ips == (ip_address("10.96.0.1"), ip_address("fd00::1"))


@pytest.mark.parametrize(
    ("labels", "spec"),
    [
        ({}, {"clusterIP": "None", "clusterIPs": ["None"]}),
        ({}, {"clusterIP": "", "clusterIPs": []}),
        ({}, {"type": "ExternalName"}),
        ({"service.kubernetes.io/service-proxy-name": "other"}, {}),
    ],
)
def test_services_that_are_not_ours(labels, spec):
    assert parsed(labels, **spec) is None


def test_a_named_proxy_serves_services_with_its_label():
    labels = {"service.kubernetes.io/service-proxy-name": "mine"}
    wire, complaints = service_with(labels)
    assert parse_service(wire, complaints, "mine") is not None
    assert parse_service(service_with()[0], complaints, "mine") is None


def test_bad_parts_are_named_and_left_out():
    wire, complaints = service_with(
        clusterIPs=["10.96.0.1", "fe80::1%eth0", "::ffff:1.2.3.4"],
        externalIPs=["1.2.3.4", "1.2.3.4; -j ACCEPT", "01.2.3.4"],
        ports=[{"port": 80}, {"port": 70000}, {"port": 81, "protocol": "ICMP"}],
        type="LoadBalancer",
        loadBalancerSourceRanges=["10.0.0.0/8", " 192.168.0.0/16 ", "x"],
    )
    found = parse_service(wire, complaints)
    assert found.external_ips == (ip_address("1.2.3.4"),)
    assert [port.number for port in found.ports] == [80]
    assert found.sources == (ip_network("10.0.0.0/8"), ip_network("192.168.0.0/16"))
    assert len(complaints.lines) == 6  # 01.2.3.4 is 1.2.3.4
    assert all(line.startswith("Service ns/web: ") for line in complaints.lines)
    assert any("externalIPs[1]" in line for line in complaints.lines)


def test_ranges_without_a_valid_one_admit_no_client():
    assert parsed(type="LoadBalancer", loadBalancerSourceRanges=["any"]).sources == ()
    assert parsed(type="LoadBalancer").sources is None


def test_load_balancer_addresses_of_mode_proxy_are_not_ours():
    ingress = [
        {"ip": "1.1.1.1"},
        {"ip": "2.2.2.2", "ipMode": "Proxy"},
        {"ip": "3.3.3.3", "ipMode": "VIP"},
    ]
    status = {"loadBalancer": {"ingress": [*ingress, {"hostname": "lb.example"}]}}
    found = parsed(status=status, type="LoadBalancer")
    assert found.load_balancer_ips == (ip_address("1.1.1.1"), ip_address("3.3.3.3"))
    assert parsed(status=status, type="NodePort").load_balancer_ips == ()


@pytest.mark.parametrize(
    ("config", "seconds"),
    [
        (None, 10800),
        ({"clientIP": {"timeoutSeconds": 5}}, 5),
        ({"clientIP": {"timeoutSeconds": -5}}, 1),
        ({"clientIP": {"timeoutSeconds": 10**12}}, 86400),
    ],
)
def test_affinity(config, seconds):
    extra = {"sessionAffinityConfig": config} if config else {}
    assert parsed(sessionAffinity="ClientIP", **extra).affinity == seconds


def test_policies():
    found = parsed(type="NodePort", internalTrafficPolicy="Local", externalTrafficPolicy="Local")
    assert found.internal_local
    assert found.external_local
    assert not parsed(externalTrafficPolicy="Local").external_local  # nothing external about it
    assert parsed(externalTrafficPolicy="Local", externalIPs=["1.1.1.1"]).external_local


def test_health_check_port_belongs_to_local_load_balancers():
    local = {"externalTrafficPolicy": "Local", "healthCheckNodePort": 32000}
    assert parsed(type="LoadBalancer", **local).health_check_port == 32000
    assert parsed(type="NodePort", **local).health_check_port == 0
    wire, complaints = service_with(type="LoadBalancer", **local | {"healthCheckNodePort": 99999})
    assert parse_service(wire, complaints).health_check_port == 0
    assert complaints.lines


def slice_of(*endpoints, labels=None, ports=None, family="IPv4"):
    labels = {"kubernetes.io/service-name": "web"} if labels is None else labels
    wire = EndpointSlice.read(
        {
            "metadata": {"namespace": "ns", "name": "web-1", "labels": labels},
            "addressType": family,
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]
            if ports is None
            else ports,
            "endpoints": list(endpoints),
        }
    )
    complaints = Complaints("EndpointSlice ns/web-1")
    return parse_slice(wire, "n1", complaints), complaints


def only(found):
    return found.endpoints["http", Protocol.TCP]


def test_an_endpoint_and_its_conditions():
    found, _ = slice_of(
        {"addresses": ["10.244.0.1", "10.244.0.2"], "nodeName": "n1"},
        {
            "addresses": ["10.244.0.3"],
            "conditions": {"ready": False, "serving": True, "terminating": True},
        },
        {"addresses": ["10.244.0.4"], "conditions": {"ready": False, "serving": False}},
        {
            "addresses": ["10.244.0.5"],
            "hints": {"forZones": [{"name": "z1"}], "forNodes": [{"name": "n2"}]},
        },
    )
    one, leaving, not_ready, hinted = only(found)
    assert found.service == ("ns", "web")
    assert one.target == Target.of(ip_address("10.244.0.1"), 8080)
    assert (one.local, one.ready, one.terminating) == (True, True, False)
    assert (leaving.ready, leaving.serving, leaving.terminating) == (False, True, True)
    assert (not_ready.ready, not_ready.serving, not_ready.local) == (False, False, False)
    assert (hinted.zones, hinted.nodes) == (frozenset({"z1"}), frozenset({"n2"}))


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "fd00::1", "x"]
)
def test_addresses_that_cannot_be_endpoints(address):
    found, complaints = slice_of({"addresses": [address]}, {"addresses": ["10.244.0.1"]})
    assert [str(one.target.address) for one in only(found)] == ["10.244.0.1"]
    assert "endpoints[0]" in complaints.lines[0]


def test_slices_without_a_service():
    assert slice_of(labels={})[0] is None
    headless = {"kubernetes.io/service-name": "web", "service.kubernetes.io/headless": ""}
    assert slice_of(labels=headless)[0] is None
    assert slice_of(family="FQDN")[0] is None


def test_a_port_without_a_number_is_named():
    found, complaints = slice_of(
        {"addresses": ["10.244.0.1"]}, ports=[{"name": "x"}, {"port": 53, "protocol": "UDP"}]
    )
    assert list(found.endpoints) == [("", Protocol.UDP)]
    assert "ports[0]" in complaints.lines[0]


def test_a_node_that_is_being_removed_is_not_eligible():
    def node(**more):
        wire = {
            "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z"}}
            | more.pop("meta", {}),
            **more,
        }
        return parse_node(Node.read(wire), Complaints("Node n1"))

    addresses = [
        {"type": "InternalIP", "address": "192.168.0.1"},
        {"type": "Hostname", "address": "n1"},
    ]
    plain = node(status={"addresses": addresses}, spec={"podCIDRs": ["10.244.1.0/24"]})
    assert plain.addresses == (ip_address("192.168.0.1"),)
    assert plain.pod_cidrs == (ip_network("10.244.1.0/24"),)
    assert (plain.zone, plain.eligible) == ("z", True)
    taint = {"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}
    assert not node(spec={"taints": [taint]}).eligible
    assert not node(meta={"deletionTimestamp": "2026-01-01T00:00:00Z"}).eligible


texts = st.one_of(
    st.text(), st.sampled_from(["10.96.0.1", "::1", "1.2.3.4\n-A X", "%", "10.0.0.0/8"])
)


@few
@given(texts)
def test_an_address_has_only_digits_and_separators(text):
    for parse in (parse_address, parse_network):
        try:
            value = parse(text)
        except ValueError:
            continue
        assert set(str(value)) <= set("0123456789abcdef:./")


json_ports = st.lists(
    st.fixed_dictionaries(
        {"port": st.integers(-9, 99999)},
        optional={"name": texts, "protocol": texts, "nodePort": st.integers(-9, 99999)},
    )
)


@few
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "type": texts,
            "clusterIP": texts,
            "clusterIPs": st.lists(texts),
            "externalIPs": st.lists(texts),
            "loadBalancerSourceRanges": st.lists(texts),
            "ports": json_ports,
            "sessionAffinity": texts,
            "internalTrafficPolicy": texts,
            "externalTrafficPolicy": texts,
            "healthCheckNodePort": st.integers(-9, 99999),
        },
    )
)
def test_no_service_can_raise(spec):
    wire, complaints = service_with(**spec)
    found = parse_service(wire, complaints)
    assert found is None or all(0 < port.number < 65536 for port in found.ports)


@few
@given(
    st.lists(st.fixed_dictionaries({"addresses": st.lists(texts)}, optional={"nodeName": texts})),
    st.lists(
        st.fixed_dictionaries(
            {}, optional={"name": texts, "port": st.integers(-9, 99999), "protocol": texts}
        )
    ),
    texts,
)
def test_no_slice_can_raise(endpoints, ports, family):
    slice_of(*endpoints, ports=ports, family=family)


@pytest.mark.parametrize(
    ("text", "plain"),
    [("010.096.000.001", "10.96.0.1"), ("10.96.0.1", "10.96.0.1"), ("fd00::01", "fd00::1")],
)
def test_leading_zeros_are_ignored(text, plain):
    """As in upstream's ParseIPSloppy: objects from before Go 1.17 have them."""
    assert parse_address(text) == ip_address(plain)
    bits = 32 if "." in text else 128
    assert parse_network(f" {text}/{bits} ") == ip_network(f"{plain}/{bits}")


@pytest.mark.parametrize(
    "bad", ["0256.0.0.1", "1.2.3", "1.2.3.4.5", "\u0661.2.3.4", "1..2.3", "0x1.2.3.4", "1.2.3.4\n"]
)
def test_texts_that_are_no_addresses(bad):
    with pytest.raises(ValueError, match=r"."):
        parse_address(bad)


@pytest.mark.parametrize(
    ("wire", "problem"),
    [
        ({"spec": {"ports": [{"port": "80"}]}}, "spec.ports.0.port: Expected `int`, got `str`"),
        ({"metadata": {"labels": {"a": 1}}}, "metadata.labels: Expected `str`, got `int`"),
        ({"spec": []}, "spec: Expected `object`, got `array`"),
        ([], "Expected `object`, got `array`"),
    ],
)
def test_what_is_no_service_is_refused_by_its_field(wire, problem):
    with pytest.raises(UnreadableError) as found:
        Service.read(wire)
    assert str(found.value) == problem


def test_a_page_is_read_at_once():
    items = [service(number) for number in range(3)]
    listed = {"metadata": {"resourceVersion": "7", "continue": "next"}, "items": items}
    page = Service.read_page(encode(listed))
    assert page == ([Service.read(item) for item in items], "7", "next")
    assert Service.read_page(encode({"metadata": {}, "items": []})) == ([], "", "")


@pytest.mark.parametrize(
    "text",
    [
        '{"metadata": {}, "items": [{"spec": {"ports": 5}}]}',
        '{"metadata": {}, "items": [{"spec": {"ports": null}}]}',
        '{"metadata": {}, "items": null}',
        '{"metadata": {}, "items": [{"x": ' + "[" * 100_000 + "]" * 100_000 + "}]}",
        '{"metadata": {}, "items": [',
        "[]",
        "",
    ],
    ids=["mistyped", "null", "no items", "deep", "cut", "array", "empty"],
)
def test_a_page_with_anything_else_is_read_one_by_one(text: str):
    assert Service.read_page(text.encode()) is None
