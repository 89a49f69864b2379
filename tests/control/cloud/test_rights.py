"""What the cloud and the speaker may not: more than their work needs."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from control.api import kinds
from control.api.cluster import ServiceAccount
from control.client import ApiError, Client, ClientConfig
from control.client.kubeconfig import Credentials
from control.cloud.nodes import controller as nodes
from control.cloud.routes import controller as routes
from control.cloud.services import controller as services
from control.controllers.accounts import account_of
from control.tokens import TokenSigner
from tests.support.control.guarded import Guarded, guarded_server

TOKEN = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
FORBIDDEN = 403


def client(server: Guarded, user: str) -> Client:
    return Client(ClientConfig(server.url, credentials=Credentials(token=user)))


async def test_the_cloud_makes_tokens_of_its_controllers_and_of_no_other_account() -> None:
    signer = TokenSigner(ec.generate_private_key(ec.SECP256R1()))
    mine = [account_of(each.COMPONENT) for each in (services, nodes, routes)]
    others = ("generic-garbage-collector", "kube-system"), ("node-controller", "default")
    async with guarded_server("Node", "RBAC", tokens=signer) as server:
        async with client(server, "root") as admin:
            for name, space in [*((each, "kube-system") for each in mine), *others]:
                wire = {"metadata": {"name": name, "namespace": space}}
                await admin.create(kinds.SERVICE_ACCOUNT, ServiceAccount.parse(wire))
        async with client(server, "system:cloud-controller-manager") as cloud:
            for name in mine:
                made = await cloud.post(kinds.SERVICE_ACCOUNT, "kube-system", name, "token", TOKEN)
                assert made["status"]["token"]
            for name, space in others:
                with pytest.raises(ApiError) as refused:
                    await cloud.post(kinds.SERVICE_ACCOUNT, space, name, "token", TOKEN)
                assert refused.value.code == FORBIDDEN


async def test_the_speaker_reads_what_it_announces_and_nothing_else() -> None:
    async with guarded_server("Node", "RBAC") as server, client(server, "podwire:speaker") as mine:
        for kind in (kinds.SERVICE, kinds.ENDPOINT_SLICE, kinds.NODE):
            await mine.list(kind)
        for kind in (kinds.POD, kinds.SECRET, kinds.ENDPOINTS, kinds.NAMESPACE):
            with pytest.raises(ApiError) as refused:
                await mine.list(kind)
            assert refused.value.code == FORBIDDEN
