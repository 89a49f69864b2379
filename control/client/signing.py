"""Ask the cluster for a certificate: make a key and a request, and wait for the signature.

Source: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/ and
k8s.io/client-go/util/certificate (csr, certificate_manager.go)
"""

import asyncio
import base64
import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from control.api import kinds
from control.api.certificates import (
    KUBELET_CLIENT_SIGNER,
    KUBELET_SERVING_SIGNER,
    CertificateSigningRequest,
)
from control.api.signing import host_names
from control.client.errors import ApiError, ClientError
from control.client.rest import Client

_POLL = 0.25
_USAGES = {
    KUBELET_CLIENT_SIGNER: ["digital signature", "client auth"],
    KUBELET_SERVING_SIGNER: ["digital signature", "server auth"],
}


class RefusedError(ClientError):
    """A certificate that nobody gives; the text says who refused it and what to do."""


@dataclass(frozen=True, slots=True)
class NodeRequest:
    """A key of a node (PEM) with its request for a certificate (PEM), and who is to sign it."""

    signer: str
    key: bytes
    request: bytes

    @property
    def name(self) -> str:
        """The name of the object, which the same key always has."""
        return f"node-csr-{hashlib.sha256(self.request).hexdigest()[:32]}"


def node_request(node: str, signer: str, hosts: Sequence[str] = ()) -> NodeRequest:
    """Make a key and a request of a node; ``hosts`` are names and addresses of a server."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{node}"),
        ]
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if hosts:
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    made = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return NodeRequest(signer, pem, made)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


async def obtain(client: Client, asked: NodeRequest) -> bytes:
    """Return the certificate (PEM), however long it takes; raises RefusedError, ClientError."""
    spec = {
        "request": base64.b64encode(asked.request).decode(),
        "signerName": asked.signer,
        "usages": _USAGES[asked.signer],
    }
    wire = {"metadata": {"name": asked.name}, "spec": spec}
    try:
        await client.create(kinds.SIGNING_REQUEST, CertificateSigningRequest.parse(wire))
    except ApiError as err:
        if not err.already_exists:
            raise
    while True:
        found = await client.get(kinds.SIGNING_REQUEST, None, asked.name)
        if found.status.certificate:
            return _checked(asked, found.status.certificate)
        for condition in found.status.conditions:
            if condition.type in ("Denied", "Failed"):
                raise RefusedError(
                    f"CertificateSigningRequest {asked.name}: {condition.type}: {condition.message}"
                )
        await asyncio.sleep(_POLL)


def _checked(asked: NodeRequest, encoded: str) -> bytes:
    """Return a certificate (PEM) that is of the request's key and names; raises RefusedError."""
    wanted = x509.load_pem_x509_csr(asked.request)
    try:
        pem = base64.b64decode(encoded)
        made = x509.load_pem_x509_certificate(pem)
        key, names = made.public_key(), host_names(made)
    except (ValueError, UnsupportedAlgorithm) as err:
        raise RefusedError(
            f"CertificateSigningRequest {asked.name}: its certificate cannot be read: {err}"
        ) from err
    if key != wanted.public_key() or not host_names(wanted) <= names:
        raise RefusedError(
            f"CertificateSigningRequest {asked.name}: its certificate has another key, or lacks a "
            "name that was asked for: look at who signs for " + asked.signer
        )
    return pem
