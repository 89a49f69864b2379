"""Requests for certificates: which are approved, which are signed with what, which are deleted."""

import asyncio
import base64
import shutil
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from control.api import kinds
from control.api.certificates import CertificateSigningRequest
from control.api.times import rfc3339
from control.client import Client, ClientConfig
from control.client.kubeconfig import Credentials
from control.controllers.actions import Again, Approve, Report
from control.controllers.certificates.approving import ApprovingController
from control.controllers.certificates.authority import SigningAuthority
from control.controllers.certificates.cleaning import CleaningController
from control.controllers.certificates.signing import SigningController
from control.controllers.cli import main
from control.controllers.loop import Manager
from control.pki import Pair, create_authority, kubeconfig
from tests.support.control.cluster import running, until
from tests.support.control.guarded import Guarded, guarded_server
from tests.support.control.kubectls import Kubectl
from tests.support.control.secured import secured_server
from tests.support.control.signing import (
    CLIENT,
    KUBELET,
    NODE_USAGES,
    SERVING,
    asked,
    key,
    key_pem,
    request_pem,
    wire,
)
from tests.support.control.simulate import Simulation

NODE = "system:node:n1"
PEM = request_pem("jane", "team")
NODE_PEM = request_pem(NODE, "system:nodes")
SERVER_PEM = request_pem(
    NODE,
    "system:nodes",
    names=[x509.DNSName("n1"), x509.IPAddress(ip_address("192.0.2.1"))],
)
HOUR = 3600.0


def request(spec: dict[str, Any], *types: str, at: float = 0, **status: Any) -> Any:
    conditions = [
        {"type": type_, "status": "True", "lastUpdateTime": rfc3339(at)} for type_ in types
    ]
    given = {"conditions": conditions} if types else {}
    return CertificateSigningRequest.parse(wire("a", spec, **given, **status))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> SigningAuthority:
    folder = tmp_path_factory.mktemp("pki")
    create_authority("test").save(folder, "ca")
    return SigningAuthority.load(folder / "ca.crt", folder / "ca.key")


def signed(authority: SigningAuthority, item: Any, now: float = 0) -> Any:
    """Return the status after the signing controller's work."""
    sim = Simulation(item)
    sim.now = now or datetime.now(UTC).timestamp()
    sim.settle(SigningController(authority))
    return sim.get(item).status


def certificate_of(status: Any) -> x509.Certificate:
    return x509.load_pem_x509_certificate(base64.b64decode(status.certificate))


def test_a_client_certificate_is_what_was_asked_for(authority: SigningAuthority):
    now = 1_800_000_000.0
    usages = ["digital signature", "key encipherment", "client auth"]
    item = request(asked(PEM, usages=usages, expirationSeconds=7200), "Approved")
    made = certificate_of(signed(authority, item, now))
    made.verify_directly_issued_by(authority.certificate)
    assert made.subject.rfc4514_string() == "CN=jane,O=team"
    assert made.public_key() == key().public_key()
    moment = datetime.fromtimestamp(now, UTC)
    assert made.not_valid_before_utc == moment - timedelta(minutes=5)
    assert made.not_valid_after_utc == moment + timedelta(hours=2)
    extensions = made.extensions
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca) == (True, False)
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_encipherment, usage.key_cert_sign) == (1, 1, 0)
    extended = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(extended) == [ExtendedKeyUsageOID.CLIENT_AUTH]


@pytest.mark.parametrize(
    ("seconds", "life"),
    [
        (None, timedelta(days=365, minutes=-5)),
        (600, timedelta(minutes=10)),
        (8 * 3600, timedelta(hours=8, minutes=-5)),
        (2**31 - 1, timedelta(days=365, minutes=-5)),
    ],
)
def test_the_life_of_a_certificate(
    authority: SigningAuthority, seconds: int | None, life: timedelta
):
    now = datetime.now(UTC).timestamp() // 1 - 30 * 24 * HOUR  # the authority outlives all of them
    spec = asked(PEM) | ({} if seconds is None else {"expirationSeconds": seconds})
    made = certificate_of(signed(authority, request(spec, "Approved"), now))
    assert made.not_valid_after_utc - datetime.fromtimestamp(now, UTC) == life


def test_no_certificate_outlives_the_authority(authority: SigningAuthority):
    end = authority.certificate.not_valid_after_utc
    made = certificate_of(
        signed(authority, request(asked(PEM), "Approved"), (end - timedelta(days=1)).timestamp())
    )
    assert made.not_valid_after_utc == end
    sim = Simulation(request(asked(PEM), "Approved"))
    sim.now = end.timestamp()
    report, again = SigningController(authority).reconcile(sim.cluster, ("", "a"), sim.now)
    assert isinstance(report, Report) and "the signer has expired" in report.message
    assert isinstance(again, Again)


def test_a_serving_certificate_has_the_names_of_the_node(authority: SigningAuthority):
    spec = asked(SERVER_PEM, SERVING, usages=["digital signature", "server auth"])
    made = certificate_of(signed(authority, request(spec, "Approved")))
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["n1"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("192.0.2.1")]


@pytest.mark.parametrize(
    ("spec", "types"),
    [
        (asked(PEM), ()),
        (asked(PEM), ("Denied",)),
        (asked(PEM), ("Approved", "Failed")),
        (asked(PEM, "example.org/s"), ("Approved",)),
    ],
)
def test_what_nobody_signs(authority: SigningAuthority, spec: dict[str, Any], types: Any):
    status = signed(authority, request(spec, *types))
    assert (status.certificate, [c.type for c in status.conditions]) == ("", list(types))


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (asked(PEM, usages=["server auth"]), "invalid usage for client certificate: server auth"),
        (
            asked(PEM, usages=["digital signature"]),
            "missing required usage for client certificate: client auth",
        ),
        (asked(PEM, KUBELET, usages=NODE_USAGES), "subject organization is not system:nodes"),
        (
            asked(request_pem("n1", "system:nodes"), KUBELET, usages=NODE_USAGES),
            "subject common name does not begin with system:node:",
        ),
        (
            asked(request_pem(NODE, "system:nodes", "x"), KUBELET, usages=NODE_USAGES),
            "subject organization is not system:nodes",
        ),
        (asked(SERVER_PEM, KUBELET, usages=NODE_USAGES), "DNS subjectAltNames are not allowed"),
        (
            asked(NODE_PEM, KUBELET),
            "usages did not match [client auth digital signature key encipherment]",
        ),
        (asked(NODE_PEM, SERVING), "DNS or IP subjectAltName is required"),
        (
            asked(SERVER_PEM, SERVING, usages=NODE_USAGES),
            "usages did not match [digital signature key encipherment server auth]",
        ),
        (asked(b"x"), "PEM block type must be CERTIFICATE REQUEST"),
    ],
)
def test_a_request_that_its_signer_does_not_take_fails(
    authority: SigningAuthority, spec: dict[str, Any], why: str
):
    status = signed(authority, request(spec, "Approved"))
    failed = status.conditions[-1]
    assert (failed.type, failed.reason, failed.message) == (
        "Failed",
        "SignerValidationFailure",
        why,
    )
    assert status.certificate == ""


@pytest.mark.parametrize(
    ("spec", "types", "rights"),
    [
        (asked(NODE_PEM, KUBELET, usages=NODE_USAGES, username="boot"), (), ["nodeclient"]),
        (
            asked(NODE_PEM, KUBELET, usages=NODE_USAGES, username=NODE),
            (),
            ["selfnodeclient", "nodeclient"],
        ),
        (asked(NODE_PEM, KUBELET, usages=NODE_USAGES, username=NODE), ("Denied",), []),
        (asked(NODE_PEM, CLIENT, usages=NODE_USAGES, username=NODE), (), []),
        (asked(SERVER_PEM, KUBELET, usages=NODE_USAGES, username=NODE), (), []),
        (asked(PEM, KUBELET, usages=NODE_USAGES, username="jane"), (), []),
    ],
)
def test_the_rights_that_approve(spec: dict[str, Any], types: Any, rights: list[str]):
    sim = Simulation(request(spec, *types))
    actions = list(ApprovingController().reconcile(sim.cluster, ("", "a"), sim.now))
    asks = [action for action in actions if isinstance(action, Approve)]
    found = [review["resourceAttributes"]["subresource"] for it in asks for review, _ in it.choices]
    assert found == rights
    for review, _ in asks[0].choices if asks else ():
        assert review["user"] == spec["username"]


@pytest.mark.parametrize(
    ("types", "status", "life"),
    [
        ((), {}, 24 * HOUR),
        (("Approved",), {}, 24 * HOUR),
        (("Approved",), {"certificate": "eA=="}, HOUR),
        (("Denied",), {}, HOUR),
        (("Approved", "Failed"), {}, HOUR),
    ],
)
def test_old_requests_are_deleted(types: Any, status: dict[str, Any], life: float):
    start = 1_800_000_000.0
    sim = Simulation()
    sim.now = start
    sim.create(request(asked(PEM), *types, at=start, **status))
    sim.now = start + life
    (again,) = CleaningController().reconcile(sim.cluster, ("", "a"), sim.now)
    assert again == Again(1)
    sim.now += 1
    sim.settle(CleaningController())
    assert len(sim.cluster[kinds.SIGNING_REQUEST]) == 0


def test_a_request_is_deleted_with_its_certificate(authority: SigningAuthority):
    now = datetime.now(UTC).timestamp() // 1
    item = request(asked(PEM, expirationSeconds=600), "Approved", at=now)
    sim = Simulation(item)
    sim.now = now
    sim.settle(SigningController(authority), CleaningController())
    assert sim.get(item).status.certificate
    sim.now += 601
    sim.settle(CleaningController())
    assert len(sim.cluster[kinds.SIGNING_REQUEST]) == 0


def client_of(server: Guarded, user: str) -> Client:
    return Client(ClientConfig(server.url, credentials=Credentials(token=user)))


async def test_a_node_is_approved_if_it_may(authority: SigningAuthority):
    """It may ask for itself only, unless it may for all nodes."""
    async with guarded_server("Node", "RBAC") as server, client_of(server, "root") as admin:
        rbac = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
        csrs = kinds.SIGNING_REQUEST.path()
        role = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"
        author = "system:node:node1"
        for name, owner in (("another", "system:node:node2"), ("own", author)):
            pem = request_pem(owner, "system:nodes")
            body = wire(name, asked(pem, KUBELET, usages=NODE_USAGES))
            await server.make(csrs, body, user=author)
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        subject = {"kind": "Group", "name": "system:nodes"}
        binding = {"metadata": {"name": "b"}, "roleRef": ref, "subjects": [subject]}
        await server.make(rbac, binding)
        parts = (ApprovingController(), SigningController(authority))

        async def issued() -> bool:
            found = await admin.get(kinds.SIGNING_REQUEST, None, "own")
            return bool(found.status.certificate)

        async with running(Manager(admin, parts).run()):
            await until(issued, "the node has its certificate", 120)
        (verdict,) = (await admin.get(kinds.SIGNING_REQUEST, None, "own")).status.conditions
        assert (verdict.type, verdict.reason) == ("Approved", "AutoApproved")
        other = await admin.get(kinds.SIGNING_REQUEST, None, "another")
        assert (other.status.certificate, other.status.conditions) == ("", [])


async def test_kubectl_approves_and_the_certificate_counts(tmp_path: Path):
    """The whole way of a user: ask, approve, sign, verify by openssl, and log in."""
    async with secured_server(tmp_path, modes=("RBAC",)) as server:
        kubectl = Kubectl(server, shutil.which("kubectl") or "kubectl")
        for name in ("jane", "eve"):
            spec = asked(request_pem(name, "team"), usages=NODE_USAGES, expirationSeconds=86400)
            await kubectl("create", "-f", "-", stdin=yaml.safe_dump(wire(name, spec)))
        pending = await kubectl("get", "csr", "jane", "--no-headers")
        assert pending.split()[2:] == [CLIENT, "admin", "24h", "Pending"]
        approved = await kubectl("certificate", "approve", "jane")
        assert approved == "certificatesigningrequest.certificates.k8s.io/jane approved\n"
        await kubectl("certificate", "deny", "eve")
        own = SigningAuthority.load(tmp_path / "ca.crt", tmp_path / "ca.key")

        async def issued() -> bool:
            return "Approved,Issued" in await kubectl("get", "csr", "--no-headers")

        async with (
            Client.from_kubeconfig(server.kubeconfig) as client,
            running(Manager(client, (SigningController(own),)).run()),
        ):
            await until(issued, "jane has her certificate", 120)
        states = (await kubectl("get", "csr", "--no-headers", "--sort-by=.metadata.name")).split()
        assert (states[5], states[11]) == ("Denied", "Approved,Issued")
        raw = await kubectl("get", "csr", "jane", "-o", "jsonpath={.status.certificate}")
        (tmp_path / "jane.crt").write_bytes(base64.b64decode(raw))
        assert await openssl(tmp_path) == f"{tmp_path / 'jane.crt'}: OK\n"
        pair, trusted = Pair(base64.b64decode(raw), key_pem()), (tmp_path / "ca.crt").read_bytes()
        (tmp_path / "jane").write_text(kubeconfig("test", server.url, trusted, "jane", pair))
        who = await kubectl(f"--kubeconfig={tmp_path / 'jane'}", "auth", "whoami", "-o", "yaml")
    info = yaml.safe_load(who)["status"]["userInfo"]
    assert (info["username"], info["groups"]) == ("jane", ["team", "system:authenticated"])


async def openssl(folder: Path) -> str:
    """Return what openssl says of the certificate, as a client's."""
    process = await asyncio.create_subprocess_exec(
        "openssl",
        "verify",
        "-purpose",
        "sslclient",
        "-CAfile",
        folder / "ca.crt",
        folder / "jane.crt",
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return out.decode()


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"cert": "ca.crt"}, "belong together"),
        ({"cert": "ca.crt", "key": "other.key"}, "is not the key of certificate"),
        ({"cert": "ca.key", "key": "ca.key"}, "--cluster-signing-cert-file: authority"),
    ],
)
def test_a_wrong_authority_is_refused_at_the_start(tmp_path: Path, files: dict[str, str], why: str):
    for name in ("ca", "other"):
        create_authority(name).save(tmp_path, name)
    flags = [f"--cluster-signing-{what}-file={tmp_path / file}" for what, file in files.items()]
    result = CliRunner().invoke(main, [f"--kubeconfig={tmp_path / 'ca.crt'}", *flags])
    assert (result.exit_code, why in result.output) == (2, True), result.output
