"""The real kubectl against a real server: users' commands print nothing on stderr."""

import asyncio
import json

from tests.support.control.kubectls import WEB, Kubectl
from tests.support.control.secured import Secured

POD = """
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {app: p}}
spec:
  initContainers: [{name: i, image: busybox}]
  containers: [{name: c, image: busybox}]
"""


async def test_apply_get_and_describe(kubectl: Kubectl):
    assert await kubectl("apply", "-f", "-", stdin=WEB) == (
        "deployment.apps/web created\nservice/web created\n"
    )
    assert "web    0/3     0            0" in await kubectl("get", "deployments")
    wide = await kubectl("get", "deploy,svc", "-o", "wide")
    assert "podwire/tools   app=web" in wide
    assert "80:30080/TCP" in wide
    assert "service/web " in await kubectl("get", "all")
    assert "NodePort:                 <unset>  30080/TCP" in await kubectl("describe", "svc", "web")
    assert "StrategyType:           RollingUpdate" in await kubectl("describe", "deploy", "web")


async def test_items_of_a_list_have_their_kind_in_kubectl(kubectl: Kubectl):
    await kubectl("apply", "-f", "-", stdin=WEB)
    shown = await kubectl("get", "services", "-o", "yaml")
    assert "- apiVersion: v1\n  kind: Service\n" in shown
    listed = json.loads(await kubectl("get", "services", "-o", "json"))
    assert {item["kind"] for item in listed["items"]} == {"Service"}
    raw = json.loads(await kubectl("get", "--raw", "/api/v1/services"))
    assert not any("kind" in item for item in raw["items"])


async def test_a_second_apply_changes_only_the_difference(kubectl: Kubectl):
    await kubectl("apply", "-f", "-", stdin=WEB)
    assert "deployment.apps/web unchanged" in await kubectl("apply", "-f", "-", stdin=WEB)
    changed = WEB.replace("replicas: 3", "replicas: 5").replace("http}", "http, protocol: TCP}")
    difference = await kubectl.try_("diff", "-f", "-", stdin=changed)
    assert (difference.code, difference.err) == (1, "")
    assert "-  replicas: 3\n+  replicas: 5\n" in difference.out
    applied = await kubectl("apply", "-f", "-", stdin=changed)
    assert applied == "deployment.apps/web configured\nservice/web unchanged\n"
    spec = json.loads(await kubectl("get", "deploy", "web", "-o", "json"))["spec"]
    assert spec["replicas"] == 5
    assert spec["template"]["spec"]["containers"][0]["image"] == "podwire/tools"
    assert "serverside-applied" not in await kubectl("replace", "-f", "-", stdin=changed)


async def test_labels_annotations_patches_and_scale(kubectl: Kubectl):
    await kubectl("apply", "-f", "-", stdin=WEB)
    assert await kubectl("label", "deploy", "web", "tier=front") == "deployment.apps/web labeled\n"
    assert await kubectl("annotate", "svc", "web", "a=b") == "service/web annotated\n"
    assert await kubectl("scale", "deploy", "web", "--replicas=7") == "deployment.apps/web scaled\n"
    await kubectl("set", "image", "deploy/web", "web=other:2")
    await kubectl("patch", "svc", "web", "-p", '{"spec":{"type":"ClusterIP"}}')
    await kubectl(
        "patch",
        "deploy",
        "web",
        "--type=json",
        "-p",
        '[{"op":"test","path":"/spec/replicas","value":7}]',
    )
    await kubectl("rollout", "restart", "deploy/web")
    found = json.loads(await kubectl("get", "deploy,svc", "-l", "tier=front", "-o", "json"))
    (deploy,) = found["items"]
    assert (deploy["spec"]["replicas"], deploy["metadata"]["generation"]) == (7, 4)
    assert deploy["spec"]["template"]["spec"]["containers"][0]["image"] == "other:2"
    service = json.loads(await kubectl("get", "svc", "web", "-o", "json"))
    assert "nodePort" not in service["spec"]["ports"][0]


async def test_protobuf_of_typed_clients_is_decoded(kubectl: Kubectl):
    await kubectl("create", "deployment", "d", "--image=x", "--replicas=2", "--port=80")
    await kubectl("create", "configmap", "c", "--from-literal=a=b")
    await kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
    await kubectl("create", "namespace", "n")
    await kubectl("create", "service", "nodeport", "np", "--tcp=80:8080")
    await kubectl("run", "r", "--image=x", "--restart=Never", "--env=A=B")
    await kubectl("expose", "deploy", "d", "--port=80")
    deploy = json.loads(await kubectl("get", "deploy", "d", "-o", "json"))
    assert deploy["spec"]["replicas"] == 2
    assert deploy["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] == 80
    assert json.loads(await kubectl("get", "secret", "s", "-o", "json"))["data"] == {"a": "Yg=="}
    assert await kubectl("auth", "can-i", "create", "pods") == "yes\n"
    assert "system:masters" in await kubectl("auth", "whoami")


async def test_watch_wait_and_rollout(kubectl: Kubectl, secured: Secured):
    await kubectl("apply", "-f", "-", stdin=WEB)
    watching = await kubectl.start("get", "deploy", "-w")
    assert watching.stdout is not None
    await watching.stdout.readline()
    assert b"web    0/3" in await watching.stdout.readline()
    waiting = asyncio.create_task(
        kubectl("wait", "deploy/web", "--for=condition=Available", "--timeout=60s")
    )
    rolling = asyncio.create_task(kubectl("rollout", "status", "deploy/web", "--timeout=60s"))
    status = {
        "observedGeneration": 1,
        "replicas": 3,
        "updatedReplicas": 3,
        "readyReplicas": 3,
        "availableReplicas": 3,
        "conditions": [{"type": "Available", "status": "True"}],
    }
    await kubectl(
        "patch",
        "deploy",
        "web",
        "--subresource=status",
        "--type=merge",
        "-p",
        json.dumps({"status": status}),
    )
    assert b"web    3/3     3            3" in await watching.stdout.readline()
    assert await waiting == "deployment.apps/web condition met\n"
    assert "successfully rolled out" in await rolling
    watching.terminate()
    await watching.communicate()


async def test_delete_waits_for_finalizers(kubectl: Kubectl):
    await kubectl("apply", "-f", "-", stdin=WEB)
    await kubectl("delete", "deploy", "web", "--cascade=foreground", "--wait=false")
    held = json.loads(await kubectl("get", "deploy", "web", "-o", "json"))["metadata"]
    assert held["finalizers"] == ["foregroundDeletion"]
    deleting = await kubectl.start("delete", "deploy", "web", "--cascade=foreground")
    assert deleting.stdout is not None
    assert b"deleted" in await deleting.stdout.readline()  # asked for; now it waits
    await kubectl(
        "patch",
        "deploy",
        "web",
        "--type=json",
        "-p",
        '[{"op":"remove","path":"/metadata/finalizers"}]',
    )
    assert await deleting.communicate() == (b"", b"")
    assert deleting.returncode == 0
    assert "NotFound" in (await kubectl.try_("get", "deploy", "web")).err


async def test_kubectl_prints_pods_as_upstream(kubectl: Kubectl):
    await kubectl("apply", "-f", "-", stdin=POD)
    assert "p      0/1     Pending   0" in await kubectl("get", "pods")
    status = {
        "phase": "Pending",
        "initContainerStatuses": [
            {
                "name": "i",
                "state": {"running": {}},
                "ready": False,
                "restartCount": 0,
                "image": "x",
                "imageID": "",
            }
        ],
    }
    await kubectl(
        "patch",
        "pod",
        "p",
        "--subresource=status",
        "--type=merge",
        "-p",
        json.dumps({"status": status}),
    )
    assert "Init:0/1" in await kubectl("get", "pod", "p", "-o", "wide")
    assert "Service Account:  default" in await kubectl("describe", "pod", "p")
    # kubectl 1.34 and later name the namespace, too.
    assert (await kubectl("delete", "pod", "p")).startswith('pod "p" deleted')


async def test_invalid_services_are_refused_as_upstream(kubectl: Kubectl):
    wrong = WEB.replace("replicas: 3", "replicas: 3\n  replica: 3").replace("image:", "imagee:")
    strict = await kubectl.try_("apply", "-f", "-", stdin=wrong)
    assert strict.code == 1
    assert (
        'strict decoding error: unknown field "spec.replica",'
        ' unknown field "spec.template.spec.containers[0].imagee"'
    ) in strict.err
    warned = await kubectl.try_("apply", "--validate=warn", "-f", "-", stdin=wrong)
    assert 'Warning: unknown field "spec.replica"' in warned.err
    assert "spec.template.spec.containers[0].image: Required value" in warned.err
    taken = WEB.replace("name: web}", "name: other}").replace("name: web,", "name: other,")
    await kubectl("apply", "-f", "-", stdin=WEB)
    refused = await kubectl.try_("apply", "-f", "-", stdin=taken)
    assert (
        'The Service "other" is invalid: spec.ports[0].nodePort: Invalid value: 30080:'
        " provided port is already allocated"
    ) in refused.err


async def test_dry_run_writes_nothing(kubectl: Kubectl):
    out = await kubectl("apply", "--dry-run=server", "-f", "-", stdin=WEB)
    assert "deployment.apps/web created (server dry run)" in out
    assert "NotFound" in (await kubectl.try_("get", "deploy", "web")).err


async def test_discovery_explain_and_versions(kubectl: Kubectl):
    names = await kubectl("api-resources", "-o", "name")
    assert {"pods", "deployments.apps", "endpointslices.discovery.k8s.io"} <= set(names.split())
    explained = await kubectl("explain", "pod.spec.containers.ports.containerPort")
    assert "FIELD: containerPort <integer>" in explained
    assert "Server Version: v1.36" in (await kubectl.try_("version")).out  # old ones warn of skew
    assert await kubectl("get", "--raw", "/readyz") == "ok"
    assert "apps/v1" in await kubectl("api-versions")


async def test_namespaces_and_events(kubectl: Kubectl):
    assert set((await kubectl("get", "ns", "-o", "name")).split()) == {
        "namespace/default",
        "namespace/kube-node-lease",
        "namespace/kube-public",
        "namespace/kube-system",
    }
    event = {
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "apiVersion": "v1", "name": "p", "namespace": "default"},
        "reason": "Started",
        "message": "Started container",
        "type": "Normal",
    }
    await kubectl("create", "-f", "-", stdin=json.dumps(event))
    assert "Started container" in await kubectl("get", "events")
    assert "Started container" in await kubectl("events", "--for=pod/p")


async def test_edit(kubectl: Kubectl, monkeypatch):
    await kubectl("apply", "-f", "-", stdin=WEB)
    monkeypatch.setenv("KUBE_EDITOR", "sed -i s/nodePort:.30080/nodePort:\\ 30081/")
    assert await kubectl("edit", "svc", "web") == "service/web edited\n"
    assert "80:30081/TCP" in await kubectl("get", "svc", "web")
