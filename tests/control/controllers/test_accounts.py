"""Every controller does its work with the rights that upstream's default roles give it."""

import base64
import logging
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from control.api import kinds
from control.api.autoscaling import HorizontalPodAutoscaler
from control.api.cluster import Namespace, Secret, ServiceAccount
from control.api.node import Node
from control.api.pod import Pod
from control.api.policy import PodDisruptionBudget
from control.api.quota.model import ResourceQuota
from control.api.ranges import DEFAULT_RANGE, PROTECTION
from control.api.service import Endpoints, Service
from control.api.times import rfc3339
from control.api.workload import DaemonSet, Deployment, StatefulSet
from control.client import Client, ClientConfig
from control.client.kubeconfig import Credentials
from control.controllers.accounts import AccountClients, account_of
from control.controllers.certificates.authority import SigningAuthority
from control.controllers.loop import Manager
from control.controllers.nodes.cidr import ClusterRange
from control.controllers.nodes.lifecycle import Grace
from control.controllers.statefulset.pods import CLAIM
from control.controllers.table import ControllerSettings, controllers
from control.pki import create_authority
from control.server.access.default_roles import default_roles
from control.tokens import SECRET_NAME, SECRET_TYPE, TokenSigner
from tests.support.control.cluster import deployment, meta, ready_node, running, until
from tests.support.control.guarded import Guarded, guarded_server
from tests.support.control.signing import KUBELET, NODE_USAGES, asked, request_pem, wire

USER = "system:kube-controller-manager"
PUBLIC = meta("e", "kube-public")
KINDS = (kinds.NODE, kinds.DAEMON_SET, kinds.SERVICE, kinds.ENDPOINTS, kinds.NAMESPACE)
SETTINGS = ControllerSettings(
    ranges=(ClusterRange(IPv4Network("10.244.0.0/16"), 24),),
    root_ca="PEM",
    grace=Grace(0.5, 0.5),
)


def client_of(server: Guarded, user: str) -> Client:
    return Client(ClientConfig(server.url, credentials=Credentials(token=user)))


def test_each_controller_has_an_account_with_a_role() -> None:
    roles = {wire["metadata"]["name"] for _, wire in default_roles()}
    parts = {one.component for one in controllers(SETTINGS)} - {"tokens-controller"}
    accounts = {account_of(part) for part in parts}
    assert {f"system:controller:{account}" for account in accounts} <= roles


async def fill(admin: Client) -> None:
    """Give every controller something to do."""
    await admin.create(kinds.NODE, ready_node("n"))
    template = deployment("d", 2)["spec"]["template"]
    daemon = {"selector": {"matchLabels": {"app": "d"}}, "template": template}
    daemon_set = DaemonSet.parse(
        {"metadata": {"name": "s", "namespace": "default"}, "spec": daemon}
    )
    await admin.create(kinds.DAEMON_SET, daemon_set)
    await admin.create(kinds.DEPLOYMENT, Deployment.parse(deployment("d", 2)))
    ports = {"ports": [{"port": 80}]}
    for name, spec in (("s", ports | {"selector": {"app": "d"}}), ("m", ports)):
        made = Service.parse({"metadata": meta(name).wire(), "spec": spec})
        await admin.create(kinds.SERVICE, made)
    subsets = [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}]
    await admin.create(
        kinds.ENDPOINTS, Endpoints.parse({"metadata": meta("m").wire(), "subsets": subsets})
    )
    storage = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claim = {"metadata": {"name": "data"}, "spec": storage}
    numbered = deployment("n", 1, serviceName="n", volumeClaimTemplates=[claim])
    await admin.create(kinds.STATEFUL_SET, StatefulSet.parse(numbered))
    guarded = {"selector": {"matchLabels": {"app": "d"}}, "maxUnavailable": 2}
    await admin.create(
        kinds.DISRUPTION_BUDGET,
        PodDisruptionBudget.parse({"metadata": meta("b").wire(), "spec": guarded}),
    )
    await admin.create(
        kinds.DEPLOYMENT, Deployment.parse(deployment("e", 2) | {"metadata": PUBLIC.wire()})
    )
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "e"}
    scaled = {"scaleTargetRef": target, "minReplicas": 3, "maxReplicas": 4}
    wanted = HorizontalPodAutoscaler.parse({"metadata": PUBLIC.wire(), "spec": scaled})
    await admin.create(kinds.HORIZONTAL_POD_AUTOSCALER, wanted)
    limits = {"hard": {"pods": "9", "count/deployments.apps": "1"}}
    quota = ResourceQuota.parse({"metadata": meta("q").wire(), "spec": limits})
    await admin.create(kinds.RESOURCE_QUOTA, quota)
    await admin.create(kinds.NAMESPACE, Namespace(metadata=meta("gone", None)))


def own_authority(folder: Path) -> SigningAuthority:
    create_authority("test").save(folder, "ca")
    return SigningAuthority.load(folder / "ca.crt", folder / "ca.key")


async def ask_for_a_certificate(server: Guarded) -> None:
    """Ask as a node, which may have it; and leave an old request to be deleted."""
    author, rbac = "system:node:node1", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    role = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    subject = {"kind": "Group", "name": "system:nodes"}
    await server.make(rbac, {"metadata": {"name": "b"}, "roleRef": ref, "subjects": [subject]})
    spec = asked(request_pem(author, "system:nodes"), KUBELET, usages=NODE_USAGES)
    path = kinds.SIGNING_REQUEST.path()
    for name in ("new", "old"):
        made = await server.make(path, wire(name, spec), user=author)
        if name == "old":
            denied = {"type": "Denied", "status": "True", "lastUpdateTime": rfc3339(0)}
            made["status"] = {"conditions": [denied]}
            assert (await server("root", "PUT", f"{path}/old/approval", made)).code == 200


async def test_all_controllers_work_with_upstreams_rights(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.WARNING)
    signer = TokenSigner(ec.generate_private_key(ec.SECP256R1()))
    async with (
        guarded_server("Node", "RBAC", tokens=signer) as server,
        client_of(server, "root") as admin,
        client_of(server, USER) as client,
    ):
        every = controllers(replace(SETTINGS, signer=signer, authority=own_authority(tmp_path)))
        await fill(admin)
        await ask_for_a_certificate(server)
        async with (
            AccountClients(client, [one.component for one in every]) as accounts,
            running(Manager(client, every, client_of=accounts.client).run()),
        ):
            await certified(admin)
            await settled(admin)
            await token_in_a_secret(server, admin)
    refused = [text for text in caplog.messages if "orbidden" in text or "nauthorized" in text]
    assert refused == []


async def token_in_a_secret(server: Guarded, admin: Client) -> None:
    """A token in a Secret counts until its Secret or its account is gone."""
    account = ServiceAccount(metadata=meta("robot"))
    await admin.create(kinds.SERVICE_ACCOUNT, account)
    for name in ("t", "u"):
        noted = meta(name, annotations={SECRET_NAME: "robot"})
        await admin.create(kinds.SECRET, Secret(metadata=noted, type=SECRET_TYPE))

    async def token(name: str) -> str:
        data = (await admin.get(kinds.SECRET, "default", name)).data
        assert not data or base64.b64decode(data["ca.crt"]) == b"PEM"
        return base64.b64decode(data.get("token", "")).decode()

    async def filled() -> bool:
        return bool(await token("t") and await token("u"))

    async def who(shown: str) -> int:
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        reply = await server(shown, "POST", path, {})
        if reply.code == 201:
            assert reply["status"]["userInfo"]["username"].endswith(":default:robot")
        return reply.code

    async def cleared() -> bool:
        return not (await admin.list(kinds.SECRET, "default")).items

    await until(filled, "both Secrets have a token", 60)
    first, second = await token("t"), await token("u")
    assert (await who(first), await who(second)) == (201, 201)
    await admin.delete(kinds.SECRET, "default", "t")
    assert (await who(first), await who(second)) == (401, 201)
    await admin.delete(kinds.SERVICE_ACCOUNT, "default", "robot")
    assert await who(second) == 401
    await until(cleared, "the Secret is deleted with its account", 60)


async def certified(admin: Client) -> None:
    """Wait until the new request is signed, the old one deleted, the budget counted, and more."""

    async def signed() -> bool:
        requests = (await admin.list(kinds.SIGNING_REQUEST)).items
        return [bool(each.status.certificate) for each in requests] == [True]

    async def counted() -> bool:
        have = await admin.get(kinds.DISRUPTION_BUDGET, "default", "b")
        return have.status.observed_generation == 1

    async def numbered() -> bool:
        claims = (await admin.list(CLAIM, "default")).items
        pods = (await admin.list(kinds.POD, "default", label_selector="app=n")).items
        names = [item.metadata.name for item in (*claims, *pods)]
        return names == ["data-n-0", "n-0"]

    async def measured() -> bool:
        have = await admin.get(kinds.RESOURCE_QUOTA, "default", "q")
        return have.status.used.get("count/deployments.apps") == "1"

    async def scaled() -> bool:
        deployed = await admin.get(kinds.DEPLOYMENT, "kube-public", "e")
        have = await admin.get(kinds.HORIZONTAL_POD_AUTOSCALER, "kube-public", "e")
        return deployed.spec.replicas == 3 and have.status.desired_replicas == 3

    async def held() -> bool:
        found = await admin.get(kinds.SERVICE_RANGE, None, DEFAULT_RANGE)
        return PROTECTION in found.metadata.finalizers

    await until(held, "the default ServiceCIDR has its finalizer", 60)
    await until(counted, "the budget is counted", 60)
    await until(scaled, "the Deployment is scaled", 60)
    await until(measured, "the quota is counted", 60)
    await until(numbered, "the StatefulSet has its Pod and claim", 60)
    await until(signed, "one request is left, with a certificate", 60)


async def settled(admin: Client) -> None:
    """Wait for the work of each controller."""

    async def pods() -> list[Pod]:
        return list((await admin.list(kinds.POD, "default")).items)

    async def node() -> Node:
        return await admin.get(kinds.NODE, None, "n")

    async def found(kind: kinds.Kind, namespace: str, name: str) -> bool:
        listing = await admin.list(kind, namespace, field_selector=f"metadata.name={name}")
        return bool(listing.items)

    async def silent() -> bool:
        have = await node()
        return bool(have.spec.pod_cidr and have.spec.taints)

    async def rolled() -> bool:
        have = await admin.get(kinds.DEPLOYMENT, "default", "d")
        return "deployment.kubernetes.io/revision" in have.metadata.annotations

    async def sliced() -> bool:
        slices = (await admin.list(kinds.ENDPOINT_SLICE, "default")).items
        return {each.metadata.labels.get("kubernetes.io/service-name") for each in slices} >= {
            "s",
            "m",
        }

    async def aggregated() -> bool:
        return len((await admin.get(kinds.CLUSTER_ROLE, None, "admin")).rules) > 10

    async def adopted() -> bool:
        return len([pod for pod in await pods() if pod.metadata.owner_references]) >= 2

    for holds in (silent, rolled, sliced, aggregated, adopted):
        await until(holds, holds.__name__, 60)
    for kind, name in ((kinds.SERVICE_ACCOUNT, "default"), (kinds.CONFIG_MAP, "kube-root-ca.crt")):
        await until(lambda kind=kind, name=name: found(kind, "default", name), name, 60)
    await admin.delete(kinds.NAMESPACE, None, "gone")
    await admin.delete(kinds.DEPLOYMENT, "default", "d", propagation="Foreground")

    async def emptied() -> bool:
        left = (await admin.list(kinds.NAMESPACE)).items
        return (
            "gone" not in {each.metadata.name for each in left}
            and not (await admin.list(kinds.DEPLOYMENT, "default")).items
        )

    await until(emptied, "the namespace and the Deployment are gone", 60)
