"""Make the certificates of a control plane in /etc/podwire/pki, and keep those that still serve.

A certificate is made anew if it is missing, is not of the authority, ends soon, or lacks a name;
the authority and the key of tokens are made once.
"""

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from control.api.signing import host_names
from control.client.kubeconfig import KubeconfigError, load
from control.install.layout import InstallError, Layout
from control.install.settings import ControlPlaneSettings
from control.linux import whole
from control.pki import (
    LIFETIME,
    Identity,
    Pair,
    create_authority,
    create_key,
    hosts_of_server,
    issue,
    kubeconfig,
)

AUTHORITY_LIFE = timedelta(days=3650)  # kubeadm's
SOON = timedelta(days=90)
_USERS = {
    "scheduler": Identity("system:kube-scheduler"),
    "controllers": Identity("system:kube-controller-manager"),
    "dns": Identity("system:coredns"),
}
_TITLES = {
    "ca": "podwire",
    "front-proxy-ca": "podwire front proxy",
    "etcd-ca": "podwire etcd",
}
AUTHORITIES = tuple(_TITLES)
_BESIDE = ("scheduler", "controllers")  # whose server is the one beside them, as kubeadm's
_REMEDY = "put back both files as they were, or run: podwire reset"
_ANEW = "install the cluster anew and let its nodes join: podwire reset on each machine comes first"
_ADMIN = Identity("kubernetes-admin", ("system:masters",))


def write(
    layout: Layout,
    settings: ControlPlaneSettings,
    now: datetime,
    soon: timedelta = SOON,
    *,
    before: Callable[[], None] = lambda: None,
) -> tuple[str, ...]:
    """Make what is missing, or ends ``soon``; return the files that changed.

    ``before`` is called if there are any, ahead of the first. Raises InstallError, OSError.
    """
    layout.pki.mkdir(mode=0o755, parents=True, exist_ok=True)
    changed: list[str] = []
    for name in _written(layout, settings, now, soon):
        if not changed:
            before()
        changed.append(name)
    return tuple(changed)


def _written(
    layout: Layout, settings: ControlPlaneSettings, now: datetime, soon: timedelta
) -> Iterator[str]:
    """Yield the name of each file that is to change, then write it."""
    yield from _authorities(layout.pki, settings)
    authority = _authority(layout.pki, "ca")
    for name, signer, identity in _issued(layout, settings, authority):
        if not _serves(layout.pki / f"{name}.crt", signer, identity, now, soon):
            yield name
            _save(layout.pki, name, issue(signer, identity, now))
    for path, identity, url in _kubeconfigs(layout, settings):
        if not _is_current(path, authority, url, now, soon):
            yield path.name
            pair = issue(authority, identity, now)
            text = kubeconfig("podwire", url, authority.certificate, identity.user, pair)
            whole.write(path, text, 0o600)


def _issued(
    layout: Layout, settings: ControlPlaneSettings, authority: Pair
) -> Iterator[tuple[str, Pair, Identity]]:
    """Yield each certificate that a key stands beside: its name, who signs it, and of whom."""
    front = _authority(layout.pki, "front-proxy-ca")
    kubelets = Identity("kube-apiserver-kubelet-client", ("system:masters",))
    yield "apiserver", authority, Identity("kube-apiserver", hosts=_hosts(settings))
    yield "kubelet-client", authority, kubelets
    yield "front-proxy-client", front, Identity("front-proxy-client")
    if settings.has_etcd:
        signer, machine = _authority(layout.pki, "etcd-ca"), settings.node
        hosts = (machine.name, "localhost", "127.0.0.1", "::1", *machine.ips)
        yield "etcd", signer, Identity(machine.name, hosts=hosts)
        yield "etcd-client", signer, Identity("kube-apiserver-etcd-client")


def _authorities(pki: Path, settings: ControlPlaneSettings) -> Iterator[str]:
    for name, title in _TITLES.items():
        if name == "etcd-ca" and not settings.has_etcd:
            continue
        key, certificate = pki / f"{name}.key", pki / f"{name}.crt"
        if certificate.exists() and not key.exists():
            raise InstallError(
                f"{certificate} has no key beside it: put {name}.key there, or run: podwire reset"
            )
        if not certificate.exists():
            yield name
            _save(pki, name, _create_authority(title, key))
    if not (pki / "sa.key").exists():
        yield "sa.key"
        whole.write(pki / "sa.key", create_key().decode(), 0o600)


def _create_authority(title: str, path: Path) -> Pair:
    """Make an authority, of the key that a run has left which was cut short, if there is one."""
    held = path.read_bytes() if path.exists() else None
    try:
        return create_authority(title, AUTHORITY_LIFE, held)
    except ValueError as err:
        raise InstallError(f"{path}: {err}: remove it, or run: podwire reset") from err


def _authority(pki: Path, name: str) -> Pair:
    path = pki / f"{name}.crt"
    pair = Pair.load(pki, name)
    try:
        held = x509.load_pem_x509_certificate(pair.certificate)
        is_elliptic = isinstance(held.public_key(), EllipticCurvePublicKey)
    except (ValueError, UnsupportedAlgorithm) as err:
        raise InstallError(f"{path} cannot be read: {err}; {_REMEDY}") from err
    if not is_elliptic:
        raise InstallError(f"{path} is not of an elliptic curve, and podwire's are; {_REMEDY}")
    if not _is_of(held, path.with_suffix(".key")):
        raise InstallError(f"{path} is not of the key beside it; {_REMEDY}")
    return pair


def warnings(layout: Layout, now: datetime) -> tuple[str, ...]:
    """Say which authorities have ended, or end before what they sign now. Raises OSError."""
    paths = (layout.pki / f"{name}.crt" for name in AUTHORITIES)
    ends = ((path, _end(path)) for path in paths if path.name != "etcd-ca.crt" or path.exists())
    return tuple(_warning(path, end, now) for path, end in ends if end - now < LIFETIME)


def _end(authority: Path) -> datetime:
    return x509.load_pem_x509_certificate(authority.read_bytes()).not_valid_after_utc


def _warning(path: Path, end: datetime, now: datetime) -> str:
    day = f"{end:%Y-%m-%d}"
    if end <= now:
        return (
            f"[WARNING Authority] {path} ended on {day}: nobody trusts a certificate of it any "
            f"more, and podwire renews no authority; {_ANEW}"
        )
    return (
        f"[WARNING Authority] {path} ends on {day}, before certificates that it signs now: all of "
        f"them end with it, and podwire renews no authority; before that day, {_ANEW}"
    )


def _save(folder: Path, name: str, pair: Pair) -> None:
    """Write the key first: of it an authority is made anew, and without it not at all."""
    whole.write(folder / f"{name}.key", pair.key.decode(), 0o600)
    whole.write(folder / f"{name}.crt", pair.certificate.decode(), 0o644)


def _hosts(settings: ControlPlaneSettings) -> tuple[str, ...]:
    first = [str(ip_network(cidr)[1]) for cidr in settings.network.serviceCIDRs]
    endpoint = settings.endpoint.rpartition(":")[0].strip("[]")
    domain = settings.dns.domain
    found = hosts_of_server(
        (settings.node.name,),
        (
            *settings.node.ips,
            *first,
            endpoint,
            *settings.api.certSANs,
            f"kubernetes.default.svc.{domain}",
        ),
    )
    return tuple(dict.fromkeys(found))


def _kubeconfigs(
    layout: Layout, settings: ControlPlaneSettings
) -> Iterator[tuple[Path, Identity, str]]:
    """Yield each kubeconfig, its user, and the URL of its server."""
    yield layout.admin, _ADMIN, settings.url
    for part, identity in _USERS.items():
        beside = settings.has_etcd and part in _BESIDE
        yield layout.kubeconfig(part), identity, settings.own_url if beside else settings.url


def _serves(path: Path, signer: Pair, identity: Identity, now: datetime, soon: timedelta) -> bool:
    try:
        held = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return False
    return (
        _is_signed(held, signer, now, soon)
        and _is_of(held, path.with_suffix(".key"))
        and set(identity.hosts) <= host_names(held)
    )


def _is_of(held: x509.Certificate, key: Path) -> bool:
    """Return True if a file has a certificate's key: a run may have ended between the two."""
    try:
        return load_pem_private_key(key.read_bytes(), None).public_key() == held.public_key()
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        return False


def _is_signed(held: x509.Certificate, signer: Pair, now: datetime, soon: timedelta) -> bool:
    """Return True if an authority has signed a certificate that is valid and does not end soon.

    One that begins later was made while the clock was wrong.
    """
    try:
        held.verify_directly_issued_by(x509.load_pem_x509_certificate(signer.certificate))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return held.not_valid_before_utc <= now and held.not_valid_after_utc - now > soon


def _is_current(path: Path, authority: Pair, url: str, now: datetime, soon: timedelta) -> bool:
    """Return True for a kubeconfig of this cluster whose certificate does not end soon."""

    try:
        config = load(path)
        held = x509.load_pem_x509_certificate(config.credentials.certificate or b"")
    except (KubeconfigError, ValueError):
        return False
    return config.server == url and _is_signed(held, authority, now, soon)


def authority_hash(pem: bytes) -> str:
    """Return ``sha256:HEX`` of an authority's public key, as kubeadm does; raises ValueError."""
    key = x509.load_pem_x509_certificate(pem).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def is_valid(path: Path, authority: bytes) -> bool:
    """Return True if a node's certificate is of this authority, and has not ended."""
    try:
        held = x509.load_pem_x509_certificate(path.read_bytes())
        held.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
    except (OSError, ValueError, TypeError, InvalidSignature):
        return False
    return held.not_valid_after_utc > datetime.now(UTC)
