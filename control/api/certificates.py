"""certificates.k8s.io/v1 CertificateSigningRequest."""

from pydantic import Field

from control.api.base import Int32, Model
from control.api.meta import Condition, Object

# The signers that podwire has, and the old one that upstream's API of v1 refuses.
CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING_SIGNER = "kubernetes.io/kubelet-serving"
LEGACY_SIGNER = "kubernetes.io/legacy-unknown"

USAGES = (
    "signing",
    "digital signature",
    "content commitment",
    "key encipherment",
    "key agreement",
    "data encipherment",
    "cert sign",
    "crl sign",
    "encipher only",
    "decipher only",
    "any",
    "server auth",
    "client auth",
    "code signing",
    "email protection",
    "s/mime",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "timestamping",
    "ocsp signing",
    "microsoft sgc",
    "netscape sgc",
)


class SigningRequestSpec(Model):
    """What is asked for: ``request`` is base64 of PEM. The server writes who asked."""

    request: str = ""
    signer_name: str = ""
    expiration_seconds: Int32 | None = None
    usages: list[str] = []
    username: str = ""
    uid: str = ""
    groups: list[str] = []
    extra: dict[str, list[str]] = {}


class SigningRequestStatus(Model):
    """The verdict, as conditions, and the certificate (base64 of PEM)."""

    conditions: list[Condition] = []
    certificate: str = ""


class CertificateSigningRequest(Object):
    """certificates.k8s.io/v1 CertificateSigningRequest."""

    spec: SigningRequestSpec = Field(default_factory=SigningRequestSpec)
    status: SigningRequestStatus = Field(default_factory=SigningRequestStatus)
