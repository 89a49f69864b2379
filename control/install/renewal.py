"""Renew the certificates of a control plane, and say when those of this machine end.

Source: the commands ``kubeadm certs check-expiration`` and ``kubeadm certs renew``
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from control.client.kubeconfig import KubeconfigError, load
from control.install import control_plane, credentials, systemd, units
from control.install.alone import alone
from control.install.layout import InstallError, Layout, Program
from control.install.progress import Progress

_TIMER, _AGENT, _NOBODY = "podwire-certs.timer", "podwire-agent", "nobody"
_ISSUED = ("apiserver", "kubelet-client", "front-proxy-client", "etcd", "etcd-client")
_USERS = ("admin", "scheduler", "controllers", "dns")
_OF_NODE = ("agent-client", "agent-server")


@dataclass(frozen=True, slots=True)
class Ending:
    """A certificate: its file, when it ends (None: it cannot be read), and who renews it."""

    path: Path
    end: datetime | None
    renewed_by: str


def endings(layout: Layout) -> tuple[Ending, ...]:
    """Return the certificates that an installation has here; those of its authorities last."""
    places = (
        *((layout.pki / f"{name}.crt", _TIMER) for name in _ISSUED),
        *((layout.kubeconfig(name), _TIMER) for name in _USERS),
        *((layout.node_pki / f"{name}-current.pem", _AGENT) for name in _OF_NODE),
        *((layout.pki / f"{name}.crt", _NOBODY) for name in credentials.AUTHORITIES),
    )
    return tuple(Ending(path, _end(path), by) for path, by in places if path.exists())


def _end(path: Path) -> datetime | None:
    try:
        if path.suffix == ".kubeconfig":
            pem = load(path).credentials.certificate or b""
        else:
            pem = path.read_bytes()
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc
    except (KubeconfigError, ValueError, OSError):
        return None


def renew(
    layout: Layout, program: Program, now: datetime, progress: Progress, *, every: bool = False
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Renew what ends within 90 days, or ``every`` certificate; restart those who read it.

    Returns the files that changed, and the restarted units. Raises InstallError, OSError.
    """
    if not layout.cluster_file.exists():
        raise InstallError(
            f"this machine has no control plane: there is no {layout.cluster_file}; the agent of "
            "a node renews the node's own certificates"
        )
    soon = timedelta.max if every else credentials.SOON
    with alone(layout, progress):
        settings = control_plane.load(layout)
        made = units.control_plane(layout, program, settings)
        with progress.step(f"certificates in {layout.pki}"):
            changed = control_plane.write_credentials(layout, settings, made, now, soon)
        due = systemd.due(layout)
        readers = [unit for unit in made if units.is_service(unit) and unit.name in due]
        for unit in readers:
            with progress.step(f"{unit.name} restarted"):
                systemd.begin(layout, unit, again=True)
        return changed, tuple(unit.name for unit in readers)


def rows(found: tuple[Ending, ...], now: datetime) -> Iterator[dict[str, str]]:
    """Yield what a reader is shown of each certificate."""
    for each in found:
        yield {
            "certificate": str(each.path),
            "expires": each.end.isoformat(timespec="seconds") if each.end else "<unreadable>",
            "residual": _short(each.end - now) if each.end else "<invalid>",
            "renewedBy": each.renewed_by,
        }


def _short(left: timedelta) -> str:
    if left <= timedelta():
        return "<ended>"
    return f"{left.days}d" if left.days else f"{left.seconds // 3600}h"
