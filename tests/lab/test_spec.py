"""A lab's spec and plan: pure."""

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.dns import check_resolvers
from lab.network import machine_script, switch_script
from lab.parts import control_machines, hollow_machines, machines
from lab.spec import POOL, LabSpecError, api_url, authority, cgroup, make_spec, pools


def test_defaults_are_single_stack():
    spec = make_spec("lab")
    assert spec.pod_cidrs == ("10.244.0.0/16",)
    assert spec.families == (4,)


def test_an_ipv6_range_makes_it_dual_stack_in_every_part():
    spec = make_spec("lab", pod_cidr="10.1.0.0/16,fd01::/56", dual_stack=True)
    assert spec.pod_cidrs == ("10.1.0.0/16", "fd01::/56")
    assert spec.service_cidrs == ("10.96.0.0/16", "fd00:10:96::/112")
    assert all(len(machine.addresses) == 2 for machine in machines(spec))


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"name": "../etc"}, "--name"),
        ({"name": "lab\n"}, "--name"),
        ({"name": ""}, "--name"),
        ({"name": "a" * 33}, "--name"),
        ({"nodes": 0}, "--nodes"),
        ({"nodes": 101}, "--nodes"),
        ({"hollow": 501}, "--hollow 501: a lab has 0 to 500 hollow nodes"),
        ({"nodes": 57, "hollow": 200}, "each of 257 nodes needs a /24"),
        ({"pod_cidr": "10.244.0.0"}, "--pod-cidr 10.244.0.0/32"),
        ({"pod_cidr": "10.244.0.1/16"}, "--pod-cidr"),
        ({"pod_cidr": "8.8.0.0/16"}, "private"),
        ({"pod_cidr": "10.1.0.0/16,10.2.0.0/16"}, "at most one range of each family"),
        ({"service_cidr": "10.244.8.0/24"}, "overlaps --pod-cidr"),
        ({"service_cidr": "172.31.0.0/24"}, "overlaps the nodes' range"),
        ({"service_cidr": "fd01::/112"}, "same address families"),
        ({"ip_family": "ipv6", "pod_cidr": "10.1.0.0/16"}, "--pod-cidr 10.1.0.0/16: a lab of"),
        ({"ip_family": "ipv6", "dual_stack": True}, "choose one of them"),
        ({"event_ttl": "soon"}, "--event-ttl soon: want a time of a second or more"),
        ({"control_planes": 2, "store": "etcd"}, "a lab has 1, 3, 5, so that etcd has a majority"),
        ({"control_planes": 3}, "API servers share an etcd, and no sqlite: add --store etcd"),
    ],
)
def test_an_invalid_option_is_named(options, names):
    with pytest.raises(LabSpecError, match=names.replace(".", r"\.")):
        make_spec(**{"name": "lab", **options})


def test_event_ttl_reaches_each_api_server():
    spec = make_spec("lab", store="etcd", control_planes=3, event_ttl="10m")
    for machine in control_machines(spec):
        (server,) = (c.argv for c in machine.components if c.name == "apiserver")
        assert "--event-ttl=10m" in server
    (usual,) = (
        c.argv for c in control_machines(make_spec("lab"))[0].components if c.name == "apiserver"
    )
    assert not [word for word in usual if word.startswith("--event-ttl")]


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_several_control_planes_stand_behind_the_switch(family):
    spec = make_spec("lab", store="etcd", control_planes=3, ip_family=family)
    switch, *hosts = ("fd00:31::1", "fd00:31::a", "fd00:31::2", "fd00:31::3")
    if family == "ipv4":
        switch, *hosts = ("172.31.0.1", "172.31.0.10", "172.31.0.2", "172.31.0.3")
    assert api_url(spec).removeprefix("https://").rpartition(":")[0].strip("[]") == switch
    found = control_machines(spec)
    assert [machine.ips[0] for machine in found] == hosts
    assert len({machine.ips for machine in machines(spec)}) == 6
    for machine in found:
        (server,) = (c.argv for c in machine.components if c.name == "apiserver")
        (store,) = (word for word in server if word.startswith("--store="))
        assert store.startswith(f"--store=etcd:https://{authority(machine.ips[0], 2379)},")
        assert store.count("https://") == 3
        (etcd,) = (c.argv for c in machine.components if c.name == "etcd")
        assert {"--client-cert-auth=true", "--peer-client-cert-auth=true"} < {*etcd}
        assert not [word for word in etcd if "http://" in word]


def test_a_lab_of_ipv6_has_no_other_address_anywhere():
    spec = make_spec("lab", ip_family="ipv6")
    assert (spec.families, spec.ip_family) == ((6,), "ipv6")
    assert api_url(spec) == "https://[fd00:31::a]:6443"
    words = [
        word for machine in machines(spec) for part in machine.components for word in part.argv
    ]
    scripts = [*switch_script(spec), *machine_script(spec, machines(spec)[1]), pools(spec)]
    for text in [*words, *scripts, *(a for m in machines(spec) for a in m.addresses)]:
        assert not re.search(r"\b(10|172)\.\d", text), text


def test_pods_of_a_lab_are_filtered_by_default_and_have_a_limit_of_processes():
    _, node = machines(make_spec("lab", nodes=1))
    (argv,) = (component.argv for component in node.components if component.name == "agent")
    assert {"--seccomp-default", "--pod-max-pids=4096"} <= set(argv)


@given(st.integers(1, 100), st.booleans())
def test_every_machine_has_its_own_addresses(nodes, dual_stack):
    plan = machines(make_spec("lab", nodes=nodes, dual_stack=dual_stack))
    addresses = [address for machine in plan for address in machine.addresses]
    assert len(set(addresses)) == len(addresses) == (nodes + 1) * (1 + dual_stack)
    switch = [ipaddress.ip_interface(a) for a in ("172.31.0.1/21", "fd00:31::1/64")]
    for address in map(ipaddress.ip_interface, addresses):
        assert any(address.network == home.network and address != home for home in switch)


def test_nothing_forwards_out_of_the_switch():
    spec = make_spec("lab", dual_stack=True)
    assert not any("default" in line for line in switch_script(spec))
    node = machines(spec)[1]
    routes = [line for line in machine_script(spec, node) if "route add" in line]
    assert routes == [
        "route add default via 172.31.0.1",
        "-6 route add default via fd00:31::1",
    ]


def test_every_component_gets_the_pod_ranges_of_the_lab():
    spec = make_spec("lab", pod_cidr="10.9.0.0/16")
    argvs = [c.argv for m in machines(spec) for c in m.components]
    using = [argv for argv in argvs if any(a.startswith("--cluster-cidr") for a in argv)]
    assert len(using) == 2 + 2 * 3  # controllers and cloud, agents and proxies
    assert all("--cluster-cidr=10.9.0.0/16" in argv for argv in using)


def test_the_dns_servers_get_the_resolvers_of_the_lab():
    given = {"dns_upstream": ("172.31.0.11:5300",), "stub_domain": ("corp.example=172.31.0.12",)}
    spec = make_spec("lab", **given)
    check_resolvers(spec)
    control, *_ = machines(spec)
    servers = [part.argv for part in control.components if part.argv[0] == "dns"]
    assert len(servers) == 2
    for argv in servers:
        assert argv[-2:] == (
            "--upstream=172.31.0.11:5300",
            "--stub-domain=corp.example=172.31.0.12",
        )
    with pytest.raises(LabSpecError, match=r"--stub-domain: svc\.cluster\.local=.* cluster's own"):
        check_resolvers(make_spec("lab", stub_domain=("svc.cluster.local=172.31.0.12",)))


def test_cgroups_nest_by_lab_and_machine():
    assert cgroup("lab") == "podwire/lab"
    assert cgroup("lab", "node1") == "podwire/lab/node1"


def test_hollow_nodes_have_addresses_that_nobody_else_has():
    ranges = "10.128.0.0/14,fd00:10:244::/54"
    spec = make_spec("lab", nodes=100, hollow=500, ip_family="dual", pod_cidr=ranges)
    real = {ip for machine in machines(spec) for ip in machine.ips}
    hollow = {ip for machine in hollow_machines(spec) for ip in machine.ips}
    assert len(hollow) == 1000 and not real & hollow
    for first, last in (pool.split("-") for pool in POOL.values()):
        balancers = range(int(ipaddress.ip_address(first)), int(ipaddress.ip_address(last)) + 1)
        assert not any(int(ipaddress.ip_address(ip)) in balancers for ip in hollow)
    (process,) = [part for part in machines(spec)[0].components if part.name == "hollow"]
    assert "--first-node-ip=172.31.3.1,fd00:31::301" in process.argv
    names = {part.name for machine in machines(make_spec("lab")) for part in machine.components}
    assert "hollow" not in names
