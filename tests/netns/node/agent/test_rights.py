# ruff: noqa: ASYNC221  fixtures start processes
"""The agent with a node's certificate and nothing else, under the modes Node and RBAC."""

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from control.api import kinds
from control.client import Client
from control.linux import files, syscalls
from control.pki import Identity, Pair, issue, kubeconfig
from control.tokens import TokenSigner
from tests.support.control.agent_process import NOTHING, SERVE, Node, has_cidr
from tests.support.control.cluster import until
from tests.support.control.secured import Secured, secured_server

KUBELET = "https://127.0.0.1:10250"
OBJECTS: tuple[tuple[Any, dict[str, Any]], ...] = (
    (kinds.SERVICE_ACCOUNT, {"metadata": {"name": "default"}}),
    (kinds.CONFIG_MAP, {"metadata": {"name": "settings"}, "data": {"color": "green"}}),
    (kinds.SECRET, {"metadata": {"name": "keys"}, "stringData": {"key": "abc"}}),
)
STATIC = """
apiVersion: v1
kind: Pod
metadata: {name: static}
spec:
  containers: [{name: main, image: podwire/tools}]
  terminationGracePeriodSeconds: 1
"""


def make_files(server: Secured) -> None:
    """The node's certificate as client and as server, and the API server's client certificate."""
    authority = Pair.load(server.folder, "ca")
    names = {
        "node": Identity("system:node:n1", ("system:nodes",)),
        "kubelet": Identity("n1", hosts=("127.0.0.1",)),
        "kubelet-client": Identity("kube-apiserver-kubelet-client", ("system:masters",)),
    }
    for file, identity in names.items():
        issue(authority, identity).save(server.folder, file)


@pytest.fixture
async def node(tmp_path, images, spaces, cgroup) -> AsyncIterator[SimpleNamespace]:
    syscalls.mount("log", "/var/log", "tmpfs", 0)  # visible only to these tests
    keys = tmp_path / "keys"
    keys.mkdir()
    signer = TokenSigner(ec.generate_private_key(ec.SECP256R1()))
    async with (
        secured_server(keys, modes=("Node", "RBAC"), tokens=signer) as server,
        Client.from_kubeconfig(server.kubeconfig) as admin,
    ):
        make_files(server)
        flags = (f"--tls-cert={keys}/kubelet.crt", f"--tls-key={keys}/kubelet.key")
        flags += (f"--client-ca={keys}/ca.crt", f"--pod-manifest-path={tmp_path}/static.yaml")
        node = Node(tmp_path, images, server.url, admin, cgroup, *flags)
        ca, pair = (keys / "ca.crt").read_bytes(), Pair.load(keys, "node")
        (tmp_path / "kubeconfig").write_text(kubeconfig("x", server.url, ca, "node", pair))
        node.start()
        try:
            yield SimpleNamespace(node=node, server=server, admin=admin)
        finally:
            node.kill()
            done = subprocess.run(node.command("--cleanup"), capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            assert node.remains() == NOTHING
            files.unmount(Path("/var/log"))


async def ask(node: SimpleNamespace, path: str, user: str = "", token: str = "") -> tuple[int, str]:
    """Ask the agent's server, with a certificate or with a token."""
    tls = node.server.client_tls(user)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session,
        session.get(f"{KUBELET}{path}", headers=headers) as answer,
    ):
        return answer.status, await answer.text()


async def make(node: SimpleNamespace, kind: Any, wire: dict[str, Any]) -> Any:
    namespace = {"namespace": "default"} if kind.namespaced else {}
    made = kind.model.parse({**wire, "metadata": wire["metadata"] | namespace})
    return await node.admin.create(kind, made)


async def test_a_nodes_rights_are_enough(node):
    for kind, wire in OBJECTS:
        await make(node, kind, wire)
    await until(lambda: has_cidr(node.admin), f"a Node\n{node.node.log()}")
    key = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "key"}}}
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("settings", "token")]
    token = {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}}
    await node.node.create(
        "web",
        SERVE | {"env": [key], "volumeMounts": mounts},
        serviceAccountName="default",
        automountServiceAccountToken=False,  # its volume needs a controller
        volumes=[
            {"name": "settings", "configMap": {"name": "settings"}},
            {"name": "token", "projected": {"sources": [token]}},
        ],
    )
    await node.node.ready("web")
    static = node.node.root / "static.yaml"  # its mirror Pod needs rights too
    static.write_text(STATIC)
    mirror = await node.node.ready("static-n1")
    assert mirror.metadata.annotations["kubernetes.io/config.mirror"]
    static.unlink()
    await node.node.gone("static-n1")
    status, text = await ask(node, "/metrics", "kubelet-client")
    assert status == 200 and 'rest_client_requests_total{code="201"' in text
    refused = [line for line in text.splitlines() if 'code="403"' in line]
    assert refused == [], node.node.log()
    assert "no right to list all Nodes" in node.node.log()
    await node.node.delete("web")
    await node.node.gone("web")
    assert node.node.remains() == NOTHING


async def test_the_api_server_says_who_may_use_the_agents_server(node):
    await make(node, kinds.SERVICE_ACCOUNT, {"metadata": {"name": "reader"}})
    await until(lambda: has_cidr(node.admin), f"a Node\n{node.node.log()}")
    made = await node.admin.post(
        kinds.SERVICE_ACCOUNT, "default", "reader", "token", {"spec": {"expirationSeconds": 3600}}
    )
    token = made["status"]["token"]
    assert (await ask(node, "/pods"))[0] == 401
    assert (await ask(node, "/pods", token="nonsense"))[0] == 401
    assert await ask(node, "/metrics", token=token) == (
        403,
        "Forbidden (user=system:serviceaccount:default:reader, verb=get, resource=nodes, "
        "subresource(s)=[metrics])\n",
    )
    subject = {"kind": "ServiceAccount", "name": "reader", "namespace": "default"}
    role = {"metadata": {"name": "reader"}, "rules": [
        {"apiGroups": [""], "resources": ["nodes/pods", "nodes/configz"], "verbs": ["get"]}
    ]}  # fmt: skip
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"}
    binding = {"metadata": {"name": "reader"}, "roleRef": reference, "subjects": [subject]}
    await make(node, kinds.CLUSTER_ROLE, role)
    await make(node, kinds.CLUSTER_ROLE_BINDING, binding)
    await until(lambda: answers(node, "/pods", token))
    status, text = await ask(node, "/configz", token=token)
    assert status == 200 and '"clusterDomain":"cluster.local"' in text
    assert (await ask(node, "/containerLogs/default/web/main", token=token))[0] == 403
    assert (await ask(node, "/pods", "node"))[0] == 403  # another node, or this one


async def answers(node: SimpleNamespace, path: str, token: str) -> bool:
    return (await ask(node, path, token=token))[0] == 200
