"""A Service of type LoadBalancer is reached from the switch, which is the world outside."""

import os
import signal

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


def test_its_address_moves_when_its_node_dies(web):
    web.kubectl("apply", "-f", "-", stdin=BALANCED % "Cluster")
    address = address_of(web)
    eventually(lambda: answer(web, address))
    first = announcer(web, address)
    pids = {machine["name"]: machine["pid"] for machine in web.status()["machines"]}
    os.kill(pids[first], signal.SIGKILL)
    # The switch has forgotten its neighbors with the dead node's cable: it asks for them again.
    eventually(lambda: answer(web, address) and announcer(web, address) not in (None, first))
