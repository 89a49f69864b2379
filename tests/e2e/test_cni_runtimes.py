"""Real runtimes execute the plugin: containerd, podman, and a caller of GC and STATUS.

Each has a machine of the test's own (runtimes/machine.py): nothing of the host changes.
"""

import ipaddress
import json
from collections.abc import Iterator

import grpc
import pytest

from tests.support.e2e.harness import CHECKOUT, eventually, need
from tests.support.e2e.runtimes import host as hosts
from tests.support.e2e.runtimes.containerd import Containerd, containerd
from tests.support.e2e.runtimes.host import ADDRESS, BIN_DIR, CONF_DIR, Call, Host, wget
from tests.support.e2e.runtimes.machine import machine
from tests.support.e2e.runtimes.podman import Podman

RANGES = ("10.77.0.0/24", "fd00:77::/64")
GATEWAYS = ("10.77.0.1", "fd00:77::1")
REFERENCE = "/usr/lib/cni"
RATES = {"kubernetes.io/ingress-bandwidth": "10M", "kubernetes.io/egress-bandwidth": "20M"}
PORT = {"container_port": 80, "host_port": 8080}


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    need("containerd", "runc", "podman", "nft", "tc")
    with machine() as made:
        yield hosts.host(made, *RANGES)


@pytest.fixture(autouse=True)
def nothing_is_left(host: Host) -> Iterator[None]:
    before = host.left()
    yield
    assert host.left() == before


@pytest.fixture(scope="module")
def runtime(host: Host) -> Iterator[Containerd]:
    # ``podwire cni install`` also installed the plugin for its loopback network
    with containerd(host.machine) as made:
        yield made


@pytest.fixture
def cri(runtime: Containerd) -> Iterator[Containerd]:
    eventually(lambda: not runtime.network_problem(), 20)
    yield runtime
    runtime.remove_all()


@pytest.fixture(scope="module")
def podman(host: Host) -> Podman:
    return Podman(host.machine)


@pytest.fixture(params=["alone", "lingering", "served"])
def mode(request, host: Host) -> Iterator[str]:
    """Without a server, with what a call leaves behind, and with the warm server.

    A server must have done the work.
    """
    if request.param == "alone":
        with host.unserved():
            yield request.param
        return
    if request.param == "lingering":
        host.dismiss()
        yield request.param
        assert host.dismiss()
        return
    before = host.log()
    with host.served():
        yield request.param
    assert " ADD " in host.log().removeprefix(before)


def in_ranges(addresses: list[str], ranges: tuple[str, ...] = RANGES) -> bool:
    networks = [ipaddress.ip_network(text) for text in ranges]
    return len(addresses) == len(networks) and all(
        ipaddress.ip_address(text) in network
        for text, network in zip(addresses, networks, strict=True)
    )


def pinged(run, address: str) -> bool:
    return " 0% packet loss" in run("ping", "-c1", "-W2", address)


def test_containerd_connects_pods(cri: Containerd, mode: str):
    one = cri.run_sandbox("one", dns_config={"servers": ["10.96.0.10"], "searches": ["lan"]})
    two = cri.run_sandbox("two")
    assert in_ranges(one.addresses)
    assert in_ranges(two.addresses)
    assert set(one.addresses).isdisjoint(two.addresses)
    for pod, other in ((one, two), (two, one)):
        links = {item["ifname"]: item for item in json.loads(pod.run("ip", "-j", "link"))}
        assert set(links) == {"lo", "eth0"}
        assert all("UP" in link["flags"] for link in links.values())
        for address in (*other.addresses, *pod.addresses, *GATEWAYS, "127.0.0.1"):
            assert pinged(pod.run, address), address
    assert {"nameservers": ["10.96.0.10"], "search": ["lan"]} in one.cni_result["DNS"]
    for pod in (one, two):
        pod.stop()
        pod.remove()


def test_containerd_maps_ports(host: Host, cri: Containerd, mode: str):
    pod = cri.run_sandbox("web", port_mappings=[PORT])
    pod.serve("hello", 80)
    eventually(lambda: host.fetch(ADDRESS, 8080) == "hello", 20)
    assert host.machine.run(*wget("127.0.0.1", 8080)) == "hello\n"
    assert pod.run(*wget(ADDRESS, 8080)) == "hello\n"  # hairpin
    with pytest.raises(grpc.RpcError, match="8080"):
        cri.run_sandbox("late", port_mappings=[PORT])
    pod.stop()
    assert host.fetch(ADDRESS, 8080) == ""
    pod.remove()
    pod = cri.run_sandbox("next", port_mappings=[PORT])
    pod.serve("next", 80)
    eventually(lambda: host.fetch(ADDRESS, 8080) == "next", 20)
    pod.remove()


def test_containerd_limits_bandwidth(host: Host, cri: Containerd, mode: str):
    pod = cri.run_sandbox("slow", annotations=RATES)
    rates = host.buckets()
    assert sorted(rates.values()) == [10_000_000, 20_000_000]
    ingress, egress = sorted(rates, key=lambda name: rates[name])
    assert host.links()[ingress]["linkinfo"]["info_kind"] == "veth"
    assert host.links()[egress]["linkinfo"]["info_kind"] == "ifb"
    assert pinged(pod.run, GATEWAYS[0])
    pod.remove()


def asked(calls: list[Call], ifname: str) -> list[tuple[str, bool, bool]]:
    """The calls for one interface: verb, true with a namespace, true with a previous result."""
    return [
        (call.verb, bool(call.environment.get("CNI_NETNS")), "prevResult" in call.stdin)
        for call in calls
        if call.environment["CNI_IFNAME"] == ifname
    ]


def test_containerd_deletes_three_times(host: Host, cri: Containerd, mode: str):
    with host.recorded() as calls:
        pod = cri.run_sandbox("one", port_mappings=[PORT], annotations=RATES)
        pod.stop()
        pod.stop()
        pod.remove()
    last = [("DEL", False, False)] * 2
    assert asked(calls, "eth0") == [("ADD", True, False), ("DEL", True, True), *last]
    assert asked(calls, "lo") == [("ADD", True, False), ("DEL", True, False), *last]
    runtime = next(call.stdin for call in calls if "runtimeConfig" in call.stdin)["runtimeConfig"]
    assert runtime["portMappings"][0]["HostPort"] == 8080  # containerd's own spelling of the key
    assert runtime["bandwidth"]["IngressBurst"] == 2**32 - 1


def test_containerd_deletes_a_pod_without_its_namespace(host: Host, cri: Containerd, mode: str):
    pod = cri.run_sandbox("lost", port_mappings=[PORT], annotations=RATES)
    with host.recorded() as calls:
        host.machine.run("umount", "--lazy", pod.netns)
        host.machine.run("rm", pod.netns)
        pod.stop()
        pod.remove()
    assert asked(calls, "eth0")[0] == ("DEL", False, True)


def test_a_server_starts_and_stops_under_containerd(host: Host, cri: Containerd):
    early = cri.run_sandbox("early", port_mappings=[PORT])
    with host.served() as server:
        early.stop()
        late = cri.run_sandbox("late", port_mappings=[PORT])
        server.end("KILL")
        assert pinged(late.run, GATEWAYS[0])
        late.remove()
    early.remove()


def test_containerd_follows_install_and_uninstall(host: Host, cri: Containerd):
    host.podwire("cni", "uninstall")
    eventually(lambda: "not initialized" in cri.network_problem(), 20)
    ranges = [item for subnet in RANGES for item in ("--subnet", subnet)]
    host.podwire("cni", "install", *ranges)
    eventually(lambda: not cri.network_problem(), 20)


def test_podwire_cni_lists_containerds_pods(host: Host, cri: Containerd):
    pod = cri.run_sandbox("one", port_mappings=[PORT], annotations=RATES)
    (shown,) = json.loads(host.podwire("cni", "list", "-o", "json"))
    assert shown["container_id"] == pod.id
    assert shown["alive"]
    assert [text.partition("/")[0] for text in shown["addresses"]] == pod.addresses
    assert {row["state"] for row in json.loads(host.podwire("cni", "check", "-o", "json"))} == {
        "ok"
    }
    host.podwire("cni", "gc")
    assert pinged(pod.run, GATEWAYS[0])
    pod.remove()


def test_podman_requests(host: Host, podman: Podman, mode: str):
    asked_for = ("--network=podwire", "--ip=10.77.0.50", "--mac-address=02:00:00:00:00:50")
    with host.recorded() as calls, podman.container("one", *asked_for, "-p", "8081:80"):
        link = podman.busybox("one", "ip", "address", "show", "eth0")
        assert "02:00:00:00:00:50" in link
        assert "10.77.0.50/24" in link
        assert "fd00:77::" in link
        known = podman.networks("one")["podwire"]
        assert (known["IPAddress"], known["Gateway"]) == ("10.77.0.50", GATEWAYS[0])
        podman.serve("one", "podman")
        eventually(lambda: host.fetch(ADDRESS, 8081) == "podman", 20)
    verbs = [call.verb for call in calls]
    assert verbs[0] == "VERSION"
    assert [verb for verb in verbs if verb != "VERSION"] == ["ADD", "DEL"]
    assert calls[0].environment["CNI_NETNS"] == "dummy"
    (add,) = (call for call in calls if call.verb == "ADD")
    arguments = dict(pair.split("=") for pair in add.environment["CNI_ARGS"].split(";"))
    assert (arguments["IP"], arguments["MAC"]) == ("10.77.0.50", "02:00:00:00:00:50")


def test_podman_connects_a_running_container_to_another_network(host: Host, podman: Podman):
    host.podwire(
        "cni", "install", "--name", "second", "--bridge", "podwire1", "--subnet", "10.78.0.0/24"
    )
    addresses = ("--ip=10.77.0.60", "--ip6=fd00:77::60")
    with podman.container("one", "--network=podwire", *addresses, "-p", "8082:80"):
        podman.serve("one", "podman")
        podman("network", "connect", "second", "one")
        assert pinged(lambda *argv: podman.busybox("one", *argv), "10.78.0.1")
        assert podman.networks("one")["second"]["IPAddress"].startswith("10.78.0.")
        eventually(lambda: host.fetch(ADDRESS, 8082) == "podman", 20)
        podman("network", "reload", "one")  # DEL and ADD, with each static address twice
        assert host.fetch(ADDRESS, 8082) == "podman"
        podman("network", "disconnect", "second", "one")
        assert host.fetch(ADDRESS, 8082) == "podman"
        assert "eth1" not in podman.busybox("one", "ip", "link")
        assert podman.networks("one")["podwire"]["GlobalIPv6Address"] == "fd00:77::60"
    host.machine.run("rm", CONF_DIR / "10-second.conflist")
    host.machine.run("ip", "link", "del", "podwire1")


def test_podman_refuses_a_taken_address(host: Host, podman: Podman):
    taken = ("--network=podwire", "--ip=10.77.0.70")
    with podman.container("one", *taken):
        with pytest.raises(AssertionError, match=r"10\.77\.0\.70"), podman.container("two", *taken):
            pass
        podman("rm", "-f", "two")


def addresses_of(*subnets: str, kind: str) -> dict:
    return {"type": kind, "ranges": [[{"subnet": subnet}] for subnet in subnets]}


CHAIN_RANGES = ("10.80.0.0/24", "fd00:80::/64")
OURS = {
    "type": "podwire-cni",
    "bridge": "chain0",
    "isDefaultGateway": True,
    "hairpinMode": True,
    "ipam": addresses_of(*CHAIN_RANGES, kind="podwire"),
}
THEIRS = OURS | {"type": "bridge", "ipam": addresses_of(*CHAIN_RANGES, kind="host-local")}
CHAINS = {
    "reference-behind-ours": [
        OURS | {"capabilities": {"bandwidth": True}},
        {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
        {"type": "tuning", "sysctl": {"net.core.somaxconn": "512"}},
        {"type": "firewall"},
    ],
    "ours-behind-reference": [
        THEIRS,
        {
            "type": "podwire-cni",
            "mode": "chained",
            "sysctl": {"net.core.somaxconn": "512"},
            "capabilities": {"portMappings": True, "bandwidth": True},
        },
    ],
    "ours-for-addresses": [
        THEIRS | {"ipam": addresses_of(*CHAIN_RANGES, kind="podwire-cni")},
        {
            "type": "podwire-cni",
            "mode": "chained",
            "sysctl": {"net.core.somaxconn": "512"},
            "capabilities": {"portMappings": True, "bandwidth": True},
        },
    ],
}


@pytest.fixture
def reference(host: Host) -> Iterator[None]:
    """Install the reference plugins too, and remove what they leave."""
    names = ("bridge", "host-local", "portmap", "tuning", "firewall")
    for name in names:
        host.machine.run("ln", "-s", f"{REFERENCE}/{name}", BIN_DIR / name)
    yield
    host.machine.run("rm", *(BIN_DIR / name for name in names))
    host.machine.run("nft", "flush", "ruleset")  # the empty chains of portmap and firewall


@pytest.fixture(params=CHAINS)
def chain(request, host: Host, reference: None, runtime: Containerd) -> Iterator[str]:
    with host.network(request.param, CHAINS[request.param]):
        eventually(lambda: request.param in runtime.networks(), 20)
        yield request.param
    eventually(lambda: request.param not in runtime.networks(), 20)


def test_containerd_runs_chains(host: Host, chain: str, cri: Containerd, mode: str):
    pod = cri.run_sandbox("one", port_mappings=[PORT], annotations=RATES)
    pod.serve("chained", 80)
    assert in_ranges(pod.addresses, CHAIN_RANGES)
    assert sorted(host.buckets().values()) == [10_000_000, 20_000_000]
    assert pod.run("cat", "/proc/sys/net/core/somaxconn") == "512\n"
    assert pinged(pod.run, "10.80.0.1")
    eventually(lambda: host.fetch(ADDRESS, 8080) == "chained", 20)
    addresses = pod.addresses
    pod.stop()
    pod.stop()
    pod.remove()
    assert not [text for text in (*addresses, " 8080") if text in host.rules()]


def test_a_caller_of_gc_and_status(host: Host, mode: str):
    narrow = OURS | {
        "ipam": addresses_of("10.79.0.0/29", kind="podwire"),
        "capabilities": {"portMappings": True},
    }
    with host.network("narrow", [narrow], "1.0.0", "1.1.0"):
        assert libcni(host, "status") == ""
        kept = libcni(host, "add", "kept", netns(host, "kept"))
        lost = [
            libcni(host, "add", f"lost{n}", netns(host, f"lost{n}"), f"{9000 + n}:80")
            for n in range(4)
        ]
        assert len({kept, *lost}) == 5
        assert "10.79.0." in libcni(host, "status")  # no address is free
        # as after a crash: no namespace, no DEL, and for two Pods no entry in libcni's cache
        for n in range(4):
            host.machine.run("ip", "netns", "del", f"lost{n}")
        host.machine.run("sh", "-c", "rm /var/lib/cni/results/narrow-lost[01]*")
        libcni(host, "collect", "kept")
        assert libcni(host, "status") == ""
        libcni(host, "check", "kept", "/run/netns/kept")
        assert not [text for text in (*lost, ". 900") if text in host.rules()]
        assert libcni(host, "add", "next", netns(host, "next")) in lost
        for name in ("kept", "next"):
            libcni(host, "remove", name, f"/run/netns/{name}")
            host.machine.run("ip", "netns", "del", name)


def libcni(host: Host, *args: str) -> str:
    caller = (CHECKOUT / ".venv/bin/python", "-m", "tests.support.e2e.runtimes.libcni")
    return host.machine.run("env", "--chdir", CHECKOUT, *caller, *args).strip()


def netns(host: Host, name: str) -> str:
    host.machine.run("ip", "netns", "add", name)
    return f"/run/netns/{name}"
