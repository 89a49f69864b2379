"""The keys that control planes have in common, handed over in a Secret that a key of its own seals.

Whoever reads the Secret (each new node's token may) has nothing without the certificate key, and
who has only that cannot read the Secret. It is deleted with a token that serves for this alone. All
names, the cipher (AES-256-GCM, the nonce first) and the rights are kubeadm's. Source: kubeadm's
phases upload-certs and copy-certs
"""

import base64
import re
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from control.api import kinds
from control.client import ApiError, Client
from control.install import cluster
from control.install.layout import InstallError, Layout
from control.jointokens import JoinToken, TokenSecret
from control.linux import whole

NAME, ROLE = "kubeadm-certs", "kubeadm:kubeadm-certs"
LIFE = timedelta(hours=2)
FILES = (
    *("ca.key", "ca.crt", "front-proxy-ca.key", "front-proxy-ca.crt"),
    *("etcd-ca.key", "etcd-ca.crt", "sa.key"),
)
_DESCRIPTION = "Proxy for managing TTL for the kubeadm-certs secret"
_NAMESPACE, _NONCE = "kube-system", 12
_KEY = re.compile(r"[0-9a-f]{64}")
_NEW = "`podwire certs upload` on a control plane prints the command anew"


def create_key() -> str:
    """Return a random certificate key: 32 bytes, in hexadecimal digits."""
    return secrets.token_hex(32)


def check_key(text: str) -> str:
    """Return a certificate key; raises InstallError, which does not repeat it."""
    if not _KEY.fullmatch(text):
        raise InstallError(f"--certificate-key: want 64 hexadecimal digits; {_NEW}")
    return text


def sealed(content: bytes, key: str) -> bytes:
    """Return a file as it stands in the Secret."""
    nonce = secrets.token_bytes(_NONCE)
    return nonce + AESGCM(bytes.fromhex(key)).encrypt(nonce, content, None)


def opened(content: bytes, key: str) -> bytes:
    """Return a file of the Secret; raises InstallError."""
    try:
        return AESGCM(bytes.fromhex(key)).decrypt(content[:_NONCE], content[_NONCE:], None)
    except (InvalidTag, ValueError) as err:
        raise InstallError(
            f"--certificate-key is not the one of Secret {_NAMESPACE}/{NAME}: {_NEW}"
        ) from err


async def upload(client: Client, layout: Layout, key: str) -> None:
    """Write the Secret, which ends with its token; raises ClientError, OSError.

    The token of an earlier upload goes last: with it the garbage collector would take the Secret.
    """
    before = [held for held in await cluster.tokens(client) if held.description == _DESCRIPTION]
    ends = datetime.now(UTC) + LIFE
    made = TokenSecret(JoinToken.generate(), frozenset(), (), ends, _DESCRIPTION)
    token = await cluster.create_token(client, made)
    data = {name: _base64(sealed((layout.pki / name).read_bytes(), key)) for name in FILES}
    owner = {
        "apiVersion": "v1",
        "kind": "Secret",
        "name": token.metadata.name,
        "uid": token.metadata.uid,
        "controller": True,
    }
    meta = {"name": NAME, "namespace": _NAMESPACE, "ownerReferences": [owner]}
    rows = cluster.read_by_nodes(kinds.SECRET, NAME, ROLE, {"metadata": meta, "data": data})
    await cluster.apply(client, rows)
    for held in before:
        await cluster.delete_token(client, held.token.id)


async def download(client: Client, key: str) -> dict[str, bytes]:
    """Return the files of the Secret by their names; raises InstallError, ClientError."""
    try:
        found = await client.get(kinds.SECRET, _NAMESPACE, NAME)
    except ApiError as err:
        if err.code not in (403, 404):
            raise
        hours = LIFE / timedelta(hours=1)
        raise InstallError(
            f"the cluster has no Secret {_NAMESPACE}/{NAME}, which lives for {hours:.0f} hours: "
            f"{_NEW}"
        ) from err
    if missing := [name for name in FILES if name not in found.data]:
        raise InstallError(
            f"Secret {_NAMESPACE}/{NAME} has no {missing[0]}: this cluster cannot have several "
            "control planes, because its objects are not in podwire's etcd"
        )
    return {name: opened(base64.b64decode(found.data[name]), key) for name in FILES}


def save(pki: Path, files: dict[str, bytes]) -> None:
    """Write the files, each key before its certificate; raises OSError."""
    pki.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name in sorted(files, reverse=True):
        mode = 0o600 if name.endswith(".key") else 0o644
        whole.write(pki / name, files[name].decode(), mode)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
