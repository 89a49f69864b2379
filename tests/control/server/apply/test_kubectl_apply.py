"""The real kubectl's server-side apply, and its move from client-side apply."""

import json
from typing import Any

from tests.support.control.kubectls import WEB, Kubectl


async def managers(kubectl: Kubectl, kind: str, name: str) -> list[tuple[str, str, str]]:
    text = await kubectl("get", kind, name, "--show-managed-fields", "-o", "json")
    metadata: dict[str, Any] = json.loads(text)["metadata"]
    return sorted(
        (entry["manager"], entry["operation"], entry.get("subresource", ""))
        for entry in metadata["managedFields"]
    )


async def test_kubectl_applies_on_the_server(kubectl: Kubectl):
    apply = ("apply", "--server-side", "-f", "-")
    assert await kubectl(*apply, stdin=WEB) == (
        "deployment.apps/web serverside-applied\nservice/web serverside-applied\n"
    )
    assert await kubectl(*apply, stdin=WEB) == (
        "deployment.apps/web serverside-applied\nservice/web serverside-applied\n"
    )
    assert await managers(kubectl, "deployment", "web") == [("kubectl", "Apply", "")]
    await kubectl("scale", "deployment", "web", "--replicas=5")
    refused = await kubectl.try_(*apply, stdin=WEB)
    assert refused.code == 1
    assert (
        'conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas'
        in refused.err
    )
    await kubectl(*apply, "--force-conflicts", stdin=WEB)
    assert await kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "3"
    dry = await kubectl(
        *apply,
        "--dry-run=server",
        "-o",
        "jsonpath={.spec.replicas}",
        stdin=WEB.split("---")[0].replace("replicas: 3", "replicas: 7"),
    )
    assert dry == "7"
    difference = await kubectl.try_(
        "diff", "--server-side", "-f", "-", stdin=WEB.replace("replicas: 3", "replicas: 9")
    )
    assert (difference.code, difference.err) == (1, "")
    assert "-  replicas: 3\n+  replicas: 9\n" in difference.out


async def test_kubectl_moves_from_client_side_apply(kubectl: Kubectl):
    await kubectl("apply", "-f", "-", stdin=WEB)
    assert await managers(kubectl, "service", "web") == [
        ("kubectl-client-side-apply", "Update", "")
    ]
    changed = WEB.replace("nodePort: 30080", "nodePort: 30081").replace(", name: http", "")
    changed = changed.replace("targetPort: http", "targetPort: 80")
    await kubectl("apply", "--server-side", "-f", "-", stdin=changed)
    # kubectl keeps its annotation for a return to client-side apply, by a manager of its own.
    both = [("kubectl", "Apply", ""), ("kubectl-last-applied", "Apply", "")]
    assert await managers(kubectl, "service", "web") == both
    assert await managers(kubectl, "deployment", "web") == both
    ports = await kubectl("get", "svc", "web", "-o", "jsonpath={.spec.ports[*].nodePort}")
    assert ports == "30081"
    pod = "{.spec.template.spec.containers[0].ports}"
    named = await kubectl("get", "deploy", "web", "-o", f"jsonpath={pod}")
    assert json.loads(named) == [{"containerPort": 80, "protocol": "TCP"}]


async def test_kubectl_hides_managers_and_edits_keep_them(kubectl: Kubectl):
    await kubectl("create", "configmap", "a", "--from-literal=k=v")
    hidden = await kubectl("get", "configmap", "a", "-o", "yaml")
    assert "managedFields" not in hidden
    await kubectl("replace", "-f", "-", stdin=hidden.replace("k: v", "k: w"))
    await kubectl("label", "configmap", "a", "x=y")
    assert await managers(kubectl, "configmap", "a") == [
        ("kubectl-create", "Update", ""),
        ("kubectl-label", "Update", ""),
        ("kubectl-replace", "Update", ""),
    ]
