"""Other variants of the lab pass the same packets."""

import ipaddress
import os

import pytest

from tests.support.e2e.harness import WEB, eventually, made_lab, podwire

COUNT = 100
SHAPES = {
    "vxlan-ipv6": ("--overlay=vxlan", "--ip-family=ipv6"),
    "dual-stack": ("--dual-stack",),
    "vxlan-own-ranges": (
        *("--overlay=vxlan", "--dual-stack"),
        "--pod-cidr=10.50.0.0/16,fd00:50::/56",
        "--service-cidr=10.60.0.0/16,fd00:60::/112",
    ),
    "nftables": ("--proxy=nftables", "--dual-stack"),
    "ebpf": ("--proxy=ebpf", "--dual-stack"),
}
DUAL = WEB.read_text().replace(
    "  selector: {app: web}\n  ports:",
    "  ipFamilyPolicy: PreferDualStack\n  selector: {app: web}\n  ports:",
)


@pytest.fixture(scope="module", params=sorted(SHAPES))
def shaped(request, tmp_path_factory):
    options = SHAPES[request.param]
    name = f"v{os.getpid()}"
    with made_lab(name, tmp_path_factory.mktemp("kube"), options) as lab:
        lab.kubectl("apply", "-f", "-", stdin=DUAL)
        lab.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        lab.options = options
        yield lab


def families(lab):
    return 2 if "--dual-stack" in lab.options else 1


def test_pods_have_an_address_of_each_family_in_their_nodes_ranges(shaped):
    nodes = {n["metadata"]["name"]: n["spec"]["podCIDRs"] for n in shaped.get("nodes")["items"]}
    for pod in shaped.pods():
        addresses = [entry["ip"] for entry in pod["status"]["podIPs"]]
        assert len(addresses) == families(shaped)
        for address, cidr in zip(addresses, nodes[pod["spec"]["nodeName"]], strict=True):
            assert ipaddress.ip_address(address) in ipaddress.ip_network(cidr)


def test_every_replica_answers_on_every_cluster_ip_from_everywhere(shaped):
    pods = shaped.pods()
    expected = {pod["metadata"]["name"] for pod in pods}
    addresses = shaped.get("service", "web")["spec"]["clusterIPs"]
    assert len(addresses) == families(shaped)
    for address in addresses:
        for node in ("node1", "node2", "node3"):
            eventually(
                lambda n=node, a=address: set(shaped.ask_from_node(n, a, 80, 60)) == expected
            )
            assert shaped.ask_from_node(node, address, 80, COUNT).total() == COUNT
        for pod in pods:
            answers = shaped.ask_from_pod(pod["metadata"]["name"], address, 80, COUNT)
            assert set(answers) == expected
            assert answers.total() == COUNT


def test_a_pod_finds_a_service_by_name(shaped):
    """In a lab of IPv6 in every mode of the proxy; log and exec go by the node's address."""
    pods = {pod["metadata"]["name"] for pod in shaped.pods()}
    first = min(pods)
    more = ("nftables", "ebpf") if "--ip-family=ipv6" in shaped.options else ()
    for mode in ("", *more):
        if mode:
            podwire("lab", "set", "proxy", "--name", shaped.name, mode)
            eventually(lambda m=mode: serving(shaped) == m)
        ask = "until wget -qO- http://web 2>/dev/null; do sleep 0.1; done"
        assert shaped.kubectl("exec", first, "--", "sh", "-c", ask).strip() in pods
    shaped.kubectl("exec", first, "--", "sh", "-c", "echo hello from $HOSTNAME >/proc/1/fd/1")
    eventually(lambda: f"hello from {first}" in shaped.kubectl("logs", first))
    resolved = podwire("lab", "resolve", "--name", shaped.name, "web")
    assert shaped.get("service", "web")["spec"]["clusterIP"] in resolved


def test_the_api_server_reaches_pods_by_the_clouds_routes(shaped):
    """Of every node, whichever way nodes reach each other."""
    names = {pod["metadata"]["name"] for pod in shaped.pods()}
    base = "/api/v1/namespaces/default"
    for name in names:
        assert shaped.kubectl("get", "--raw", f"{base}/pods/{name}:8080/proxy/").strip() == name
    assert shaped.kubectl("get", "--raw", f"{base}/services/web:http/proxy/").strip() in names
    for node in shaped.get("nodes")["items"]:
        conditions = {c["type"]: c for c in node["status"]["conditions"]}
        assert conditions["NetworkUnavailable"]["reason"] == "RouteCreated"
    routes = "".join(shaped.exec("control", "ip", f"-{v}", "route") for v in (4, 6))
    for node in shaped.get("nodes")["items"]:
        assert all(f"{cidr} via " in routes for cidr in node["spec"]["podCIDRs"])


def test_node_ports_answer_in_every_family(shaped):
    expected = {pod["metadata"]["name"] for pod in shaped.pods()}
    for node in shaped.get("nodes")["items"]:
        for address in [
            a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"
        ]:
            answers = shaped.ask_from_node("switch", address, 30080, 60)
            assert set(answers) == expected


def test_a_load_balancer_is_reached_in_every_family(shaped):
    """From the switch, which is the world outside."""
    expected = {pod["metadata"]["name"] for pod in shaped.pods()}
    spec = '{"spec": {"type": "LoadBalancer"}}'
    shaped.kubectl("patch", "service", "web", "-p", spec)
    jsonpath = "--for=jsonpath={.status.loadBalancer.ingress}"
    shaped.kubectl("wait", "service/web", jsonpath, "--timeout=60s")
    ingress = shaped.get("service", "web")["status"]["loadBalancer"]["ingress"]
    assert len(ingress) == families(shaped)
    for each in ingress:
        eventually(
            lambda ip=each["ip"]: set(shaped.ask_from_node("switch", ip, 80, 60)) == expected
        )


def test_large_packets_pass_between_nodes(shaped):
    """Packets of full size, which must not be fragmented, fit the MTU of the underlay."""
    first, second = shaped.pods()[0], shaped.pods()[1]
    for target in [entry["ip"] for entry in second["status"]["podIPs"]]:
        out = shaped.kubectl(
            "exec", first["metadata"]["name"], "--", "cat", "/sys/class/net/eth0/mtu"
        )
        header = 48 if ":" in target else 28
        shaped.exec(
            first["spec"]["nodeName"],
            "ping",
            "-c1",
            "-W2",
            "-M",
            "do",
            "-s",
            str(int(out) - header),
            target,
        )


def test_the_proxy_changes_its_backend_under_load(tmp_path):
    """All six changes between backends, from iptables and back to it."""
    with made_lab(f"c{os.getpid()}", tmp_path) as lab:
        lab.kubectl("apply", "-f", str(WEB))
        lab.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        address = lab.get("service", "web")["spec"]["clusterIP"]
        expected = {pod["metadata"]["name"] for pod in lab.pods()}
        eventually(lambda: set(lab.ask_from_node("node1", address, 80, 60)) == expected)
        with lab.load("node1", address, 80, 0.005) as result:
            for mode in ("nftables", "ebpf", "nftables", "iptables", "ebpf", "iptables"):
                podwire("lab", "set", "proxy", "--name", lab.name, mode)
                eventually(lambda m=mode: serving(lab) == m)
        assert result["failures"] == []
        assert result["ok"] > 100
        assert set(lab.ask_from_node("node1", address, 80, 60)) == expected
        assert "podwire-proxy" not in lab.exec("node1", "nft", "list", "tables")


def serving(lab):
    """Return the backend that node1's proxy logged last."""
    lines = podwire("lab", "logs", "--name", lab.name, "proxy", "--machine", "node1").splitlines()
    return [line.split()[-1] for line in lines if "serving Services by" in line][-1]


def test_ten_nodes(tmp_path):
    with made_lab(f"n{os.getpid()}", tmp_path, ("--nodes=10",)) as lab:
        lab.kubectl("apply", "-f", str(WEB))
        lab.kubectl("scale", "deployment", "web", "--replicas=10")
        lab.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
        pods = lab.pods()
        assert len({pod["spec"]["nodeName"] for pod in pods}) == 10
        address = lab.get("service", "web")["spec"]["clusterIP"]
        expected = {pod["metadata"]["name"] for pod in pods}
        for node in ("node1", "node10"):
            eventually(lambda n=node: set(lab.ask_from_node(n, address, 80, 150)) == expected)
