"""Port mappings, masquerade and ingress policy: the same packets with each backend.

Backends: nftables, and iptables in both of its flavors, as the plain command on the PATH is.
"""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.cni.runner import Json, Pod
from tests.support.cni.site import (
    BACKENDS,
    HOST,
    HOST6,
    OUTSIDE,
    OUTSIDE6,
    Site,
    Spaces,
    ask,
    is_answered,
    listening,
    mapped,
    on_path,
    served_site,
    traces,
)
from tests.support.space import Space


@pytest.fixture(scope="module", params=BACKENDS)
def site(
    request: pytest.FixtureRequest, spaces: Spaces, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with on_path(request.param, tmp_path_factory.mktemp("bin")) as backend:
        files = tmp_path_factory.mktemp("node")
        with served_site(spaces, files, backend=backend, ipMasqBackend=backend) as made:
            yield made


@pytest.fixture(autouse=True)
def nothing_is_left(site: Site) -> Iterator[None]:
    yield
    assert traces(site.node.space) == ""
    assert not [name for name in site.node.links() if name.startswith("p") and name != "pw0"]
    assert site.node.reservations() == {}


def test_a_mapped_port_reaches_the_pod_from_everywhere(site):
    node, one, other = site.node, site.pod(), site.pod()
    dual = node.ipam("10.1.0.0/24", "fd00:1::/64")
    conf = site.conf(ipam=dual, runtimeConfig=mapped("8080-80/tcp", "5353-53/udp"))
    result = node.add(one, conf)
    node.add(other, site.conf(ipam=dual))
    own = {item["address"].partition("/")[0] for item in result["ips"]}
    gateways = {item["gateway"] for item in result["ips"]}
    with listening(one.space, "one"), listening(one.space, "one", 53, "udp"):
        # a client outside keeps its address
        assert ask(site.outside, HOST, 8080) == f"one ::ffff:{OUTSIDE}"
        assert ask(site.outside, HOST6, 8080) == f"one {OUTSIDE6}"
        assert ask(site.outside, HOST, 5353, "udp") == f"one ::ffff:{OUTSIDE}"
        # from the host itself, its loopback, a neighbor, and the Pod itself (hairpin)
        assert ask(node.space, HOST, 8080).startswith("one ")
        assert ask(node.space, "127.0.0.1", 8080).startswith("one ")
        for gateway in gateways:
            assert ask(other.space, gateway, 8080).startswith("one ")
            assert ask(one.space, gateway, 8080).startswith("one ")
        assert ask(other.space, HOST, 5353, "udp").startswith("one ")
        for client in (node.space, other.space, one.space):
            assert ask(client, HOST6, 8080).startswith("one ")
        assert ask(site.outside, HOST6, 5353, "udp") == f"one {OUTSIDE6}"
        assert ask(one.space, HOST6, 5353, "udp").startswith("one ")
    assert own
    node.call("CHECK", one, conf | {"prevResult": result}).ok()
    for _ in range(2):
        node.delete(one, conf)
    assert not is_answered(site.outside, HOST, 8080)
    node.delete(other, site.conf(ipam=dual))


def test_a_mapping_for_one_host_address(site):
    node, one = site.node, site.pod()
    conf = site.conf(runtimeConfig=mapped(f"{HOST}-8081-80/tcp"))
    node.add(one, conf)
    with listening(one.space, "one"):
        assert ask(site.outside, HOST, 8081).startswith("one")
        assert not is_answered(node.space, "127.0.0.1", 8081)
    node.delete(one, conf)


def test_a_taken_port_is_refused_but_not_one_of_a_lost_pod(site):
    node, one, other = site.node, site.pod(), site.pod()
    conf = site.conf(runtimeConfig=mapped("8080-80/tcp"))
    first = node.add(one, conf)
    refused = node.call("ADD", other, conf)
    assert refused.document["code"] == 7
    assert "8080" in refused.document["msg"]
    assert len(node.reservations()) == 1
    # as after a crash: the link is gone, the rules remain
    node.space.ip("link", "del", first["interfaces"][1]["name"])
    node.add(other, conf)
    with listening(other.space, "other"):
        assert ask(site.outside, HOST, 8080).startswith("other")
    node.delete(one, conf)
    with listening(other.space, "other"):
        assert ask(site.outside, HOST, 8080).startswith("other")
    node.delete(other, conf)


def test_a_udp_flow_moves_to_the_ports_next_pod(site):
    node = site.node
    conf = site.conf(runtimeConfig=mapped("5353-53/udp"))
    for name in ("first", "second"):
        pod = site.pod()
        node.add(pod, conf)
        with listening(pod.space, name, 53, "udp"):
            # the same source port each time, so it is one flow
            assert ask(site.outside, HOST, 5353, "udp", 40000).startswith(name)
        node.delete(pod, conf)


def test_a_udp_flow_moves_to_the_host_when_the_pod_is_gone(site):
    """Rules of another attachment keep NAT, and with it what conntrack knows, in the kernel."""
    node, one, other = site.node, site.pod(), site.pod()
    conf = site.conf(runtimeConfig=mapped("5353-53/udp"))
    others = site.conf(runtimeConfig=mapped("8080-80/tcp", "5454-53/udp"))
    node.add(other, others)
    node.add(one, conf)
    with listening(one.space, "one", 53, "udp"), listening(other.space, "other", 53, "udp"):
        assert ask(site.outside, HOST, 5353, "udp", 40000).startswith("one")
        assert ask(site.outside, HOST, 5454, "udp", 40001).startswith("other")
        node.delete(one, conf)
        with listening(node.space, "host", 5353, "udp"):
            assert ask(site.outside, HOST, 5353, "udp", 40000, wait=1).startswith("host")
    flows = node.space.run("cat", "/proc/net/nf_conntrack", check=False)
    assert not flows or "dport=5454" in flows  # a flow of another port stays
    node.delete(other, others)


def test_masquerade_hides_pods_only_outside(site):
    node, one, other = site.node, site.pod(), site.pod()
    conf = site.conf(ipMasq=True, ipam=node.ipam("10.1.0.0/24", "fd00:1::/64"))
    result = node.add(one, conf)
    node.add(other, conf)
    with listening(site.outside, "outside"), listening(other.space, "other"):
        assert ask(one.space, OUTSIDE, 80) == f"outside ::ffff:{HOST}"
        assert ask(one.space, OUTSIDE6, 80) == f"outside {HOST6}"
        neighbour = sorted(other.addresses())[0].partition("/")[0]
        seen = ask(one.space, neighbour, 80).removeprefix("other ").removeprefix("::ffff:")
        assert seen in {item["address"].partition("/")[0] for item in result["ips"]}
    node.delete(one, conf, netns=None)
    with listening(site.outside, "outside"):
        assert ask(other.space, OUTSIDE, 80) == f"outside ::ffff:{HOST}"
    node.delete(other, conf)


# Sends a TCP segment, or receives one and prints its source. Without a flag, or with SYN and FIN, a
# segment is of no connection: conntrack calls it invalid.
_SEGMENT = """
import socket, struct, sys
verb, address, flags = sys.argv[1:4]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP)
if verb == "send":
    if family == socket.AF_INET6:
        raw.setsockopt(socket.IPPROTO_IPV6, 7, 16)  # IPV6_CHECKSUM
    header = struct.pack("!HHIIBBHHH", 4000, 4001, 1, 0, 5 << 4, int(flags), 100, 0, 0)
    if family == socket.AF_INET:
        raw.connect((address, 0))
        source = socket.inet_aton(raw.getsockname()[0]) + socket.inet_aton(address)
        words = struct.unpack("!16H", source + struct.pack("!HH", 6, 20) + header)
        total = sum(words)
        total = (total & 0xFFFF) + (total >> 16)
        header = header[:16] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + header[18:]
    raw.sendto(header, (address, 0))
else:
    print("ready", flush=True)
    sys.stdin.readline()  # the segment is on its way: now time counts
    raw.settimeout(float(flags))
    try:
        data, peer = raw.recvfrom(1 << 16)
        print(peer[0])
    except TimeoutError:
        print("nothing")
"""
_SYN, _SYN_FIN = 2, 3


def segment(
    site: Site, pod: Pod, to: Space, address: str, flags: int, patience: float = 60.0
) -> str:
    """The source address that a Pod's segment arrives with; ``nothing`` if it does not."""
    receiver = subprocess.Popen(
        to.argv(sys.executable, "-c", _SEGMENT, "receive", address, str(patience)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert receiver.stdout is not None
    assert receiver.stdout.readline() == "ready\n"
    pod.space.run(sys.executable, "-c", _SEGMENT, "send", address, str(flags))
    return receiver.communicate("sent\n")[0].strip()


def test_no_invalid_packet_leaves_with_the_pods_address(site):
    """conntrack knows nothing of such a packet, so nobody gives it the host's address."""
    node, one, other = site.node, site.pod(), site.pod()
    conf = site.conf(ipMasq=True, ipam=node.ipam("10.1.0.0/24", "fd00:1::/64"))
    for pod in (one, other):
        node.add(pod, conf)
    for outside, host in ((OUTSIDE, HOST), (OUTSIDE6, HOST6)):
        assert segment(site, one, site.outside, outside, _SYN) == host
        assert segment(site, one, site.outside, outside, _SYN_FIN, 0.5) == "nothing"
    for address in (item.partition("/")[0] for item in other.addresses()):
        assert segment(site, one, other.space, address, _SYN_FIN) != "nothing"
    for pod in (one, other):
        node.delete(pod, conf)


def test_gc_removes_links_rules_and_reservations(site):
    node, keep, lose = site.node, site.pod(), site.pod()
    base = {"ipMasq": True, "bandwidth": None}
    limits = {"bandwidth": {"egressRate": 8_000_000, "egressBurst": 800_000}}
    kept = site.conf(**base, runtimeConfig=mapped("8080-80/tcp") | limits)
    lost = site.conf(**base, runtimeConfig=mapped("8081-80/tcp") | limits)
    before = node.add(keep, kept)
    node.add(lose, lost)
    valid = [{"containerID": keep.container_id, "ifname": "eth0"}]
    node.execute(site.conf() | {"cni.dev/valid-attachments": valid}, command="GC").ok()
    node.call("CHECK", keep, kept | {"prevResult": before}).ok()
    assert len(node.reservations()) == 1
    assert "8081" not in traces(site.node.space)
    assert len([name for name in node.links() if name.startswith("pi")]) == 1
    assert node.execute(site.conf(), command="GC").document["code"] == 7
    node.execute(site.conf() | {"cni.dev/valid-attachments": []}, command="GC").ok()


def test_ingress_policies(site):
    node = site.node
    walled, neighbour, foreign = site.pod(), site.pod(), site.pod()
    # iptables knows only bridges with a policy, nftables knows every bridge
    policy = {} if site.options["backend"] == "nftables" else {"ingressPolicy": "same-bridge"}
    elsewhere = site.conf(bridge="br9", name="other", ipam=node.ipam("10.9.0.0/24"), **policy)
    node.add(foreign, elsewhere)
    conf = site.conf(ingressPolicy="same-bridge")
    address = node.add(walled, conf)["ips"][0]["address"].partition("/")[0]
    node.add(neighbour, conf)
    with listening(walled.space, "walled"), listening(foreign.space, "foreign"):
        assert ask(neighbour.space, address, 80).startswith("walled")
        assert not is_answered(foreign.space, address, 80)
        assert ask(node.space, address, 80).startswith("walled")
        # answers to the Pod's own requests pass
        theirs = sorted(foreign.addresses())[0].partition("/")[0]
        assert ask(walled.space, theirs, 80).startswith("error" if policy else "foreign")
    for each in (walled, neighbour):
        node.delete(each, conf)
    alone, other = site.pod(), site.pod()
    conf = site.conf(ingressPolicy="isolated")
    address = node.add(alone, conf)["ips"][0]["address"].partition("/")[0]
    node.add(other, conf)
    with listening(alone.space, "alone"):
        assert not is_answered(other.space, address, 80)
        assert ask(node.space, address, 80).startswith("alone")
    for each in (alone, other):
        node.delete(each, conf)
    node.delete(foreign, elsewhere)


def test_check_reports_each_missing_rule(site):
    node, one = site.node, site.pod()
    conf = site.conf(
        ipMasq=True,
        ingressPolicy="same-bridge",
        ipam=node.ipam("10.1.0.0/24", "fd00:1::/64"),
        runtimeConfig=mapped("8080-80/tcp"),
    )
    for flush in flushes(site.options["backend"]):
        asked = conf | {"prevResult": node.add(one, conf)}
        node.call("CHECK", one, asked).ok()
        node.space.run(*flush)
        assert "rules are missing" in node.call("CHECK", one, asked).document["msg"], flush
        node.delete(one, conf)


def flushes(backend: str) -> Iterator[list[str]]:
    """The commands with which another program could remove each part."""
    if backend == "nftables":
        for name in ("port_4", "port_6", "masquerade_4", "inside_6", "walled_6"):
            yield ["nft", "flush", "map", "inet", "podwire_cni", name]
        for name in ("ports", "prerouting", "postrouting", "output", "forward", "input"):
            yield ["nft", "flush", "chain", "inet", "podwire_cni", name]
        yield ["nft", "flush", "ruleset"]
        return
    for name in ("PODWIRE-PORTS", "PODWIRE-tcp-8080", "PODWIRE-OUT", "POSTROUTING", "OUTPUT"):
        yield ["iptables", "-t", "nat", "-F", name]
    yield ["iptables", "-F"]
    yield ["ip6tables", "-F", "PODWIRE-WALLS"]
    yield ["ip6tables", "-t", "nat", "-F"]


def only_from(site: Site, address: str) -> list[str]:
    """A condition in the backend's syntax."""
    if site.options["backend"] == "nftables":
        return ["ip6" if ":" in address else "ip", "saddr", address]
    return ["-s", address]


def test_conditions(site):
    node, one, other = site.node, site.pod(), site.pod()
    options = {
        "ipam": node.ipam("10.1.0.0/24", "fd00:1::/64"),
        "backend": None,
        "runtimeConfig": mapped("8080-80/tcp"),
    }
    first = site.conf(
        **options,
        conditionsV4=only_from(site, OUTSIDE),
        conditionsV6=only_from(site, OUTSIDE6),
    )
    second = site.conf(**options)
    if site.options["backend"] != "nftables":
        second["backend"] = "iptables"
    # a port without conditions comes last in the rules
    node.add(other, second)
    result = node.add(one, first)
    with listening(one.space, "one"), listening(other.space, "other"):
        assert ask(site.outside, HOST, 8080) == f"one ::ffff:{OUTSIDE}"
        assert ask(site.outside, HOST6, 8080) == f"one {OUTSIDE6}"
        assert ask(node.space, HOST, 8080).startswith("other ")
        assert ask(node.space, HOST6, 8080).startswith("other ")
    node.call("CHECK", one, first | {"prevResult": result}).ok()
    assert node.call("ADD", site.pod(), first).document["code"] == 7
    node.delete(other, second)
    with listening(one.space, "one"):
        assert ask(site.outside, HOST, 8080).startswith("one ")
        assert not is_answered(node.space, HOST, 8080)
    node.delete(one, first)


@pytest.mark.parametrize(
    "options",
    [
        {"conditionsV4": ["-s", "1.2.3.4\n-A INPUT -j DROP"]},
        {"conditionsV4": ["ip saddr 1.2.3.4; drop"]},
        {"conditionsV4": ["-s", "1.2.3.4"], "backend": "nftables"},
        {"conditionsV6": ["ip6 saddr ::1"], "backend": "iptables"},
        {"conditionsV4": ["-s", "1.2.3.4"], "conditionsV6": ["ip6 saddr ::1"], "backend": None},
        {"externalSetMarkChain": "KUBE-MARK-MASQ", "backend": "nftables"},
        {"externalSetMarkChain": "-X", "backend": None},
        {"externalSetMarkChain": "X", "markMasqBit": 3, "backend": None},
        {"runtimeConfig": mapped("fe80::1%x } ; flush ruleset-8080-80/tcp")},
    ],
)
def test_conflicting_and_unsafe_options_are_refused(site, options):
    conf = site.conf(**{"runtimeConfig": mapped("8080-80/tcp")} | options)
    assert site.node.call("ADD", site.pod(), conf).document["code"] == 7


def test_a_condition_of_the_wrong_syntax_is_refused(site):
    wrong = {"nftables": ["no", "such"]}.get(site.options["backend"], ["--no-such", "thing"])
    conf = site.conf(runtimeConfig=mapped("8080-80/tcp"), conditionsV4=wrong)
    refused = site.node.call("ADD", site.pod(), conf).document
    assert refused["code"] == 100
    assert refused["details"]


def test_snat_options_decide_the_source_address(site):
    node, one, other = site.node, site.pod(), site.pod()
    node.add(other)
    for options, outside, hides_neighbours in (
        ({"masqAll": True}, "10.1.0.1", True),
        ({}, OUTSIDE, True),
        ({"snat": False}, OUTSIDE, False),
    ):
        conf = site.conf(runtimeConfig=mapped("8080-80/tcp"), **options)
        node.add(one, conf)
        with listening(one.space, "one"):
            assert ask(site.outside, HOST, 8080) == f"one ::ffff:{outside}"
            # without SNAT, br_netfilter decides if there is an answer
            seen = ask(other.space, HOST, 8080)
            assert (seen == "one ::ffff:10.1.0.1") == hides_neighbours, seen
        node.delete(one, conf)
    node.delete(other)


def test_a_port_has_one_holder_across_backends(site):
    node, one, other = site.node, site.pod(), site.pod()
    theirs = {"nftables": "iptables"}.get(site.options["backend"], "nftables")
    ports = mapped(f"{HOST}-8080-80/tcp", "8081-80/tcp")
    node.add(one, site.conf(runtimeConfig=ports, backend=theirs))
    for port in (f"{HOST}-8080-80/tcp", "8081-80/tcp"):
        refused = node.call("ADD", other, site.conf(runtimeConfig=mapped(port))).document
        assert refused["code"] == 7
        assert refused["details"] == f"by {node.host_link(one)}"
    free = site.conf(runtimeConfig=mapped("8080-80/tcp", "8081-80/udp"))
    node.add(other, free)
    # DEL removes the rules of both backends, also if the configuration has changed
    node.delete(one, site.conf())
    node.delete(other, site.conf())


def test_fifty_concurrent_adds(site):
    node = site.node
    pods = [site.pod() for _ in range(50)]

    def conf(number: int) -> Json:
        ports = mapped(f"{8000 + number}-80/tcp", f"{8000 + number}-53/udp")
        return site.conf(ipMasq=True, runtimeConfig=ports)

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda item: node.add(item[1], conf(item[0])), enumerate(pods)))
        assert len({result["ips"][0]["address"] for result in results}) == 50
        with listening(pods[33].space, "33"):
            assert ask(site.outside, HOST, 8033) == f"33 ::ffff:{OUTSIDE}"
        list(pool.map(lambda item: node.delete(item[1], conf(item[0])), enumerate(pods)))
