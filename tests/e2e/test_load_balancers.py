"""A Service of type LoadBalancer is reached from the switch, which is the world outside."""

import json
import os
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.e2e.harness import WEB, eventually, podwire, run

BALANCED = """
apiVersion: v1
kind: Service
metadata: {name: balanced}
spec:
  type: LoadBalancer
  externalTrafficPolicy: %s
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
"""


@pytest.fixture(scope="module")
def web(lab):
    lab.kubectl("apply", "-f", str(WEB))
    lab.kubectl("apply", "-f", "-", stdin=BALANCED % "Cluster")
    lab.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    return lab


def address_of(lab):
    """Wait for the Service's address; return it."""
    jsonpath = "{.status.loadBalancer.ingress}"
    lab.kubectl("wait", "service/balanced", f"--for=jsonpath={jsonpath}", "--timeout=60s")
    (ingress,) = lab.get("service", "balanced")["status"]["loadBalancer"]["ingress"]
    return ingress["ip"]


def answer(lab, address):
    """Ask once from the switch; return the Pod's name, or "" if nobody answers."""
    done = run(*lab.exec_argv("switch", "curl", "-s", "-m", "5", f"http://{address}/"))
    return done.stdout.strip()


def announcer(lab, address):
    """Return the machine at whose cable is the MAC that the switch knows for an address."""
    script = f"ip neigh show {address}; bridge fdb show br switch"
    first, *rows = lab.exec("switch", "bash", "-c", script).splitlines()
    words = first.split()
    if words[0] != address or "lladdr" not in words:
        return None
    mac = words[words.index("lladdr") + 1]
    return next((row.split()[2] for row in rows if row.startswith(mac)), None)


def test_the_switch_reaches_it_and_every_pod_gets_a_share(web):
    address = address_of(web)
    assert address == "172.31.0.200"
    names = {pod["metadata"]["name"] for pod in web.pods()}
    eventually(lambda: set(web.ask_from_node("switch", address, 80, 60)) == names)
    assert announcer(web, address) in ("node1", "node2", "node3")


def test_with_policy_local_a_node_with_an_endpoint_announces_it(web):
    web.kubectl("apply", "-f", "-", stdin=BALANCED % "Local")
    web.kubectl("scale", "deployment/web", "--replicas=1")
    eventually(lambda: len(web.pods()) == 1)
    (pod,) = web.pods()
    address = address_of(web)
    name, node = pod["metadata"]["name"], pod["spec"]["nodeName"]
    eventually(lambda: (answer(web, address), announcer(web, address)) == (name, node))
    web.kubectl("scale", "deployment/web", "--replicas=3")
    web.kubectl("rollout", "status", "deployment/web", "--timeout=60s")


def test_the_host_reaches_services_by_a_socket_that_lab_publish_opens(web):
    names = {pod["metadata"]["name"] for pod in web.pods()}
    for service in ("balanced:http", "web:80"):  # the second has only a ClusterIP
        publish = ("lab", "publish", "--name", web.name)
        said = podwire(*publish, f"0:default/{service}")
        host = said.split()[2]
        assert said == f"lab {web.name}: {host} → default/{service}/tcp\n"
        eventually(
            lambda h=host: run("curl", "-s", "-m", "5", f"http://{h}/").stdout.strip() in names
        )
        listed = [(p["address"], p["port"]) for p in web.status()["published"]]
        address, _, port = host.partition(":")
        assert (address, int(port)) in listed
        podwire(*publish, f"{port}:default/{service}", "--remove")
        eventually(lambda h=host: run("curl", "-s", f"http://{h}/").returncode == 7)
    assert web.status()["published"] == []


@contextmanager
def serviced(lab, name, *, notes="{}", spec="", ports="[{port: 80, targetPort: http}]"):
    """Make a Service of type LoadBalancer for the block."""
    text = (
        "---\n{apiVersion: v1, kind: Service, metadata: {name: %s, annotations: %s}, "
        "spec: {type: LoadBalancer, selector: {app: web}, ports: %s%s}}"
    )
    lab.kubectl("apply", "-f", "-", stdin=text % (name, notes, ports, spec))
    try:
        yield
    finally:
        lab.kubectl("delete", "service", name)


@contextmanager
def one_pod(lab):
    """Let the Deployment have one Pod for the block, and three again."""
    lab.kubectl("scale", "deployment/web", "--replicas=1")
    try:
        eventually(lambda: len(lab.pods()) == 1)
        yield lab.pods()[0]
    finally:
        lab.kubectl("scale", "deployment/web", "--replicas=3")
        lab.kubectl("rollout", "status", "deployment/web", "--timeout=60s")


def shown(lab, name):
    """Return the address in a Service's status, or ""."""
    balancer = lab.get("service", name)["status"]["loadBalancer"]
    return "".join(each["ip"] for each in balancer.get("ingress", ()))


def status_of(lab, machine, url):
    """Return the HTTP status of an answer to a machine, "000" for none."""
    argv = ("curl", "-s", "-m", "2", "-o", "/dev/null", "-w", "%{http_code}", url)
    return run(*lab.exec_argv(machine, *argv)).stdout.strip()


def test_only_clients_of_its_source_ranges_reach_it(web):
    with serviced(web, "walled", spec=", loadBalancerSourceRanges: [172.31.0.1/32]"):
        eventually(lambda: shown(web, "walled"))
        url = f"http://{shown(web, 'walled')}/"
        eventually(lambda: status_of(web, "switch", url) == "200")
        assert status_of(web, "control", url) == "000"
        ranges = {"spec": {"loadBalancerSourceRanges": ["172.31.0.10/32"]}}
        web.kubectl("patch", "service", "walled", "-p", json.dumps(ranges))
        eventually(lambda: status_of(web, "control", url) == "200")
        assert status_of(web, "switch", url) == "000"


def test_health_check_node_ports_agree_with_who_announces(web):
    """With policy Local: 200 where a Pod is, 503 elsewhere, and only one of the first announces."""
    nodes = {
        node["metadata"]["name"]: node["status"]["addresses"][0]["address"]
        for node in web.get("nodes")["items"]
    }
    with one_pod(web) as pod, serviced(web, "local", spec=", externalTrafficPolicy: Local"):
        eventually(lambda: shown(web, "local"))
        port = web.get("service", "local")["spec"]["healthCheckNodePort"]
        want = {name: "200" if name == pod["spec"]["nodeName"] else "503" for name in nodes}
        eventually(
            lambda: (
                {n: status_of(web, "switch", f"http://{ip}:{port}/") for n, ip in nodes.items()}
                == want
            )
        )
        address = shown(web, "local")
        eventually(lambda: answer(web, address) == pod["metadata"]["name"])
        assert announcer(web, address) == pod["spec"]["nodeName"]
        line = 'metallb_speaker_announced{service="default/local",protocol="layer2",node="%s"'
        for name in nodes:
            page = web.exec(name, "curl", "-s", "http://127.0.0.1:7472/metrics")
            assert (line % name in page) == (name == pod["spec"]["nodeName"])


def test_services_share_an_address_and_a_conflict_is_told(web):
    key = "metallb.io/allow-shared-ip: k"
    want = "metallb.io/loadBalancerIPs: 172.31.0.222"
    other = "[{port: 81, targetPort: http}]"
    with (
        serviced(web, "one", notes=f"{{{key}, {want}}}"),
        serviced(web, "two", notes=f"{{{key}}}", ports=other),
    ):
        eventually(lambda: shown(web, "one") == shown(web, "two") == "172.31.0.222")
        for port in (80, 81):
            url = f"http://172.31.0.222:{port}/"
            eventually(lambda u=url: status_of(web, "switch", u) == "200")
        with serviced(web, "three", notes=f"{{{key}, {want}}}"):
            text = "Service default/one has port 80/TCP of it; ask for another"
            eventually(lambda: text in web.kubectl("events", "--for", "service/three"))
            assert shown(web, "three") == ""


def test_who_waits_for_an_exhausted_pool_gets_what_is_freed(web):
    """And a file of pools that overlap is refused, by an Event; everybody keeps what he has."""
    path = Path(f"/var/lib/podwire/labs/{web.name}/machines/control/etc/cloud.yaml")
    before = path.read_text()
    small = (
        "---\n{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: small}, "
        "spec: {autoAssign: false, addresses: [%s]}}\n"
    )
    notes = "{metallb.io/address-pool: small}"
    path.write_text(before + small % "172.31.0.251/32")
    with (
        serviced(web, "second", notes=notes),
        serviced(web, "first", notes="{metallb.io/loadBalancerIPs: 172.31.0.240}"),
    ):
        eventually(lambda: shown(web, "second") == "172.31.0.251")
        with serviced(web, "third", notes=notes):
            text = "no free IPv4 address in pool small (1 addresses); delete a Service"
            eventually(lambda: text in web.kubectl("events", "--for", "service/third"))
            path.write_text(before + small % "172.31.0.250-172.31.0.251")
            about = ("events", "-n", "kube-system", "--for", "lease/cloud-controller-manager")
            overlap = "overlaps range 172.31.0.200-172.31.0.250 of pool default"
            eventually(lambda: overlap in web.kubectl(*about))
            note = "metallb.io/loadBalancerIPs=172.31.0.241"
            web.kubectl("annotate", "service", "first", "--overwrite", note)
            eventually(lambda: shown(web, "first") == "172.31.0.241")
            assert shown(web, "second") == "172.31.0.251"
            change = '{"spec": {"type": "ClusterIP", "externalTrafficPolicy": null}}'
            web.kubectl("patch", "service", "second", "-p", change)
            eventually(lambda: shown(web, "third") == "172.31.0.251")
    path.write_text(before)


def test_with_mode_proxy_pods_go_to_the_balancer_and_with_vip_around_it(web):
    """A balancer of another make, in the switch, says who it is; it has written the status."""
    folder = Path(f"/var/lib/podwire/labs/{web.name}/logs")
    (folder / "index.html").write_text("the balancer\n")
    httpd = ("busybox", "httpd", "-f", "-p", "172.31.0.1:8099", "-h", str(folder))
    balancer = subprocess.Popen(web.exec_argv("switch", *httpd))
    pod = web.pods()[0]["metadata"]["name"]
    ask = ("exec", pod, "--", "wget", "-q", "-O-", "http://172.31.0.1:8099/")
    ports = "[{port: 8099, targetPort: http}]"
    try:
        with serviced(web, "other", spec=", loadBalancerClass: example.com/x", ports=ports):
            for mode, answers in (
                ("Proxy", lambda text: text == "the balancer\n"),
                ("VIP", lambda text: text.startswith("web-")),
                ("Proxy", lambda text: text == "the balancer\n"),
            ):
                ingress = [{"ip": "172.31.0.1", "ipMode": mode}]
                change = json.dumps({"status": {"loadBalancer": {"ingress": ingress}}})
                web.kubectl("patch", "service", "other", "--subresource=status", "-p", change)
                eventually(lambda a=answers: a(run(*web.kubectl_argv(*ask)).stdout))
            assert announcer(web, "172.31.0.1") is None
    finally:
        balancer.terminate()
        balancer.wait()


def test_its_address_moves_when_its_node_dies_and_a_published_port_goes_on(web):
    web.kubectl("apply", "-f", "-", stdin=BALANCED % "Cluster")
    address = address_of(web)
    eventually(lambda: answer(web, address))
    first = announcer(web, address)
    host = podwire("lab", "publish", "--name", web.name, "0:balanced:http").split()[2]
    pids = {machine["name"]: machine["pid"] for machine in web.status()["machines"]}
    os.kill(pids[first], signal.SIGKILL)
    # The switch has forgotten its neighbors with the dead node's cable: it asks for them again.
    eventually(lambda: answer(web, address) and announcer(web, address) not in (None, first))
    eventually(lambda: run("curl", "-s", "-m", "5", f"http://{host}/").stdout.startswith("web-"))
