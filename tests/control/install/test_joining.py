"""The way of a node into a cluster: discovery by a token, a certificate by request, their ends."""

import asyncio
import base64
import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtensionOID

from control.agent.certificates import (
    CLIENT,
    SERVER,
    Renewals,
    is_stand_in,
    read,
    renewal,
    save,
    stand_in,
)
from control.agent.config import NodeCertificates
from control.api import kinds
from control.api.certificates import KUBELET_CLIENT_SIGNER, KUBELET_SERVING_SIGNER
from control.api.node import Node
from control.api.signing import host_names
from control.client import ApiError
from control.client.kubeconfig import Credentials
from control.client.signing import RefusedError, _checked, node_request, obtain
from control.install import cluster
from control.install.credentials import authority_hash
from control.install.discovery import Discovery, discover
from control.install.layout import InstallError
from control.jointokens import INFO_PATH, NODE_GROUP, JoinToken, TokenSecret
from control.pki import create_authority
from tests.support.control.cluster import until
from tests.support.control.joinable import TOKEN, Joinable


async def test_a_node_discovers_its_cluster_and_gets_its_certificate(joinable: Joinable):
    found = await discover(joinable.wanted)
    assert found.url == joinable.server.url
    credentials = await joinable.certify()
    held = x509.load_pem_x509_certificate(credentials.certificate or b"")
    assert held.subject.rfc4514_string() == "CN=system:node:n1,O=system:nodes"
    async with joinable.client(credentials) as node:
        shared = await cluster.read_settings(node)
        assert shared.dns_ips == ("10.96.0.10",)
        assert (await node.list(kinds.NODE)).items == ()  # for its network and its proxy


async def test_a_node_of_kubeadm_reads_its_configuration(joinable: Joinable):
    """As kubeadm 1.36's join asks for it, with the token alone."""
    async with joinable.client(Credentials(token=str(TOKEN))) as client:
        for name, key, kind in (
            ("kubeadm-config", "ClusterConfiguration", "ClusterConfiguration"),
            ("kubelet-config", "kubelet", "KubeletConfiguration"),
        ):
            found = await client.get(kinds.CONFIG_MAP, "kube-system", name)
            document = yaml.safe_load(found.data[key])
            assert document["kind"] == kind
            assert document.get("clusterDNS", ["10.96.0.10"]) == ["10.96.0.10"]
        with pytest.raises(ApiError) as refused:
            await client.get(kinds.CONFIG_MAP, "kube-system", "extension-apiserver-authentication")
        assert refused.value.code == 403


async def test_a_server_of_a_wrong_hash_or_token_is_not_trusted(joinable: Joinable):
    wanted = joinable.wanted
    with pytest.raises(InstallError, match="the hash is of another cluster"):
        await discover(replace(wanted, hashes=("sha256:" + "0" * 64,)))
    with pytest.raises(InstallError, match="the token's secret is wrong"):
        await discover(replace(wanted, token=JoinToken("abcdef", "f" * 16)))
    with pytest.raises(InstallError, match="unknown there or has ended: run `podwire token"):
        await discover(replace(wanted, token=JoinToken("fedcba", "f" * 16)), seconds=0)


async def test_a_leaked_token_puts_no_authority_beside_the_true_one(joinable: Joinable):
    """A server of its own authority, whose cluster-info has the true one too, signed right."""
    true = create_authority("true").certificate
    own = (joinable.server.folder / "ca.crt").read_bytes()
    info = cluster.objects(joinable.settings, true + own)[:1]
    await cluster.apply(joinable.admin, info)

    async def signed() -> bool:
        try:
            await discover(replace(joinable.wanted, hashes=()), seconds=0)
        except InstallError:
            return False  # by the signature of before
        return True

    await until(signed, "the new cluster-info is signed", 60)
    await discover(joinable.wanted)  # the hash of the server's own authority
    with pytest.raises(InstallError, match="does not show a certificate of the authority"):
        await discover(replace(joinable.wanted, hashes=(authority_hash(true),)))


async def test_nobody_answers():
    with pytest.raises(InstallError, match="is the control plane up"):
        await discover(Discovery("127.0.0.1:1", TOKEN), seconds=0)


async def test_without_credentials_only_cluster_info_is_shown(joinable: Joinable):
    tls = joinable.server.client_tls(user="")
    codes = {}
    async with aiohttp.ClientSession() as session:
        for path in (INFO_PATH, f"{INFO_PATH}x", "/api/v1/namespaces/kube-public/configmaps"):
            async with session.get(f"{joinable.server.url}{path}", ssl=tls) as answer:
                codes[path] = answer.status
        headers = {"Authorization": "Bearer abcdef.ffffffffffffffff"}
        async with session.get(
            f"{joinable.server.url}{INFO_PATH}", ssl=tls, headers=headers
        ) as answer:
            codes["wrong"] = answer.status
        async with session.delete(f"{joinable.server.url}{INFO_PATH}", ssl=tls) as answer:
            codes["delete"] = answer.status  # not for the authorizer, which may allow everything
    assert [*codes.values()] == [200, 401, 401, 401, 401]


async def test_a_token_may_only_ask_for_certificates(joinable: Joinable):
    async with joinable.client(Credentials(token=str(TOKEN))) as client:
        with pytest.raises(ApiError) as caught:
            await client.list(kinds.SECRET)
    assert caught.value.code == 403
    assert 'User "system:bootstrap:abcdef"' in str(caught.value)


async def test_a_token_ends(joinable: Joinable):
    """Its signature goes, then its Secret; it lets nobody in."""
    soon = datetime.now(UTC) + timedelta(seconds=2)
    short = JoinToken("shorty", "f" * 16)
    both = frozenset({"signing", "authentication"})
    await cluster.create_token(joinable.admin, TokenSecret(short, both, (NODE_GROUP,), soon))
    wanted = replace(joinable.wanted, token=short)

    async def gone() -> bool:
        return short not in [held.token for held in await cluster.tokens(joinable.admin)]

    await until(gone, "the token's Secret is deleted", 60)
    with pytest.raises(InstallError, match="unknown there or has ended"):
        await discover(wanted, seconds=0)
    async with joinable.client(Credentials(token=str(short))) as client:
        with pytest.raises(ApiError) as caught:
            await client.list(kinds.SIGNING_REQUEST)
    assert caught.value.code == 401


async def test_a_certificate_is_renewed_and_the_client_takes_it(joinable: Joinable, tmp_path: Path):
    settings = NodeCertificates(tmp_path / "pki", client=True)
    path = settings.path(CLIENT)
    first = await joinable.certify()
    save(path, first.certificate or b"", first.key or b"")
    late = datetime.now(UTC) + timedelta(days=364)  # nearly at the end of the first one
    current = Credentials(files=(path, path)).reread()
    async with joinable.client(current) as client:
        await client.list(kinds.NODE)
        old = client._sender._session
        renewals = Renewals(settings, "n1", (), client, now=lambda: late)
        before = read(path)
        task = asyncio.create_task(renewals.run())

        async def renewed() -> bool:
            return read(path) != before

        try:
            await until(renewed, "the file has another certificate", 60)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await client.list(kinds.NODE)
        assert client._sender._session is not old


@pytest.mark.parametrize(
    ("node", "host", "approved"),
    [
        ("n1", "192.0.2.7", True),
        ("n1", "192.0.2.8", False),
        ("n1", "n2", False),
        ("n1", "10.96.0.10", False),  # a Service's, that the Node claims
        ("n1", "kubernetes.default.svc", False),
        ("kubernetes.default", "192.0.2.9", False),
    ],
)
async def test_a_server_is_certified_for_the_addresses_of_its_node(
    joinable: Joinable, node: str, host: str, approved: bool
):
    nodes = {
        "n1": ["192.0.2.7", "10.96.0.10", "kubernetes.default.svc"],
        "n2": ["192.0.2.8"],
        "kubernetes.default": ["192.0.2.9"],
    }
    for name, held in nodes.items():
        made = await joinable.admin.create(kinds.NODE, Node.parse({"metadata": {"name": name}}))
        addresses = [{"type": "InternalIP", "address": each} for each in held]
        status = Node.parse({"status": {"addresses": addresses}}).status
        await joinable.admin.update_status(kinds.NODE, made.model_copy(update={"status": status}))
    asked = node_request(node, KUBELET_SERVING_SIGNER, (node, host))
    own = await joinable.certify(node)
    async with joinable.client(own) as client:
        task = asyncio.create_task(obtain(client, asked))
        if approved:
            assert b"BEGIN CERTIFICATE" in await asyncio.wait_for(task, 60)
            return
        good = node_request("n2", KUBELET_SERVING_SIGNER, ("n2",))
        async with joinable.client(await joinable.certify("n2")) as other:
            await asyncio.wait_for(obtain(other, good), 60)  # came later, and is signed
        found = await joinable.admin.get(kinds.SIGNING_REQUEST, None, asked.name)
        task.cancel()
    assert (found.status.certificate, found.status.conditions) == ("", [])


async def test_a_node_of_another_address_gets_another_server_certificate(
    joinable: Joinable, tmp_path: Path
):
    settings = NodeCertificates(tmp_path / "pki", server=True)
    path = settings.path(SERVER)
    own = await joinable.certify()
    node = await joinable.admin.create(kinds.NODE, Node.parse({"metadata": {"name": "n1"}}))
    async with joinable.client(own) as client:
        for ip in ("192.0.2.7", "192.0.2.8"):
            addresses = [{"type": "InternalIP", "address": ip}]
            status = Node.parse({"status": {"addresses": addresses}}).status
            changed = node.model_copy(update={"status": status})
            node = await joinable.admin.update_status(kinds.NODE, changed)
            task = asyncio.create_task(Renewals(settings, "n1", ("n1", ip), client).run())

            async def fits(host: str = ip) -> bool:
                held = read(path)
                return held is not None and host_names(held) == {"n1", host}

            try:
                await until(fits, f"the server's certificate is for {ip}", 60)
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


async def test_a_certificate_of_another_key_is_not_taken(joinable: Joinable):
    asked = node_request("n1", KUBELET_CLIENT_SIGNER)
    made = (await joinable.certify()).certificate or b""
    with pytest.raises(RefusedError, match="has another key"):
        _checked(asked, base64.b64encode(made).decode())


@pytest.mark.parametrize("broken", [b"no certificate", None])
def test_a_certificate_that_cannot_be_read_is_not_taken(broken: bytes | None):
    asked = node_request("n1", KUBELET_CLIENT_SIGNER)
    made = base64.b64encode(broken or with_broken_names(asked.key)).decode()
    with pytest.raises(RefusedError, match="cannot be read"):
        _checked(asked, made)


def with_broken_names(key: bytes) -> bytes:
    """A certificate (PEM) of this key, whose alternative names are no ASN.1."""
    private = load_pem_private_key(key, None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    name, now = x509.Name([]), datetime.now(UTC)
    names = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"\x00")
    builder = x509.CertificateBuilder(name, name, private.public_key(), 1, now, now)
    made = builder.add_extension(names, critical=False).sign(private, hashes.SHA256())
    return made.public_bytes(Encoding.PEM)


def test_a_stand_in_is_known_as_one(tmp_path: Path):
    path = tmp_path / "pki/server.pem"
    stand_in(path, "n1", ("n1",))
    held = read(path)
    assert held is not None and is_stand_in(held)
    stand_in(path, "n1", ("n1",))
    assert read(path) == held


def test_nodes_renew_at_different_times_before_the_end():
    begins = datetime(2026, 1, 1, tzinfo=UTC)
    ends = begins + timedelta(days=100)
    assert renewal(begins, ends, 0.0) == begins + timedelta(days=70)
    assert renewal(begins, ends, 1.0) == begins + timedelta(days=90)
