"""The unit of a control plane's member of etcd, Debian's. Pure.

As kubeadm's: all speak TLS of an authority that is etcd's alone, and the API server asks only the
member beside it. Source: https://etcd.io/docs/v3.4/op-guide/configuration/
"""

from control.install.layout import Layout
from control.install.settings import ControlPlaneSettings, MachineSettings, bracketed
from control.install.unitfile import Service, file_flags

PROGRAM = "etcd"
PORT, PEER_PORT = 2379, 2380
_FILES = ("etcd.crt", "etcd.key", "etcd-ca.crt")
CLIENT_FILES = ("etcd-ca.crt", "etcd-client.crt", "etcd-client.key")


def peer_url(machine: MachineSettings) -> str:
    """Return the URL by which other members reach a machine's."""
    return f"https://{bracketed(machine.ips[0])}:{PEER_PORT}"


def client_url(host: str) -> str:
    """Return the URL by which clients reach a member."""
    return f"https://{bracketed(host)}:{PORT}"


def store_flag() -> str:
    """Return the API server's option for the member beside it."""
    names = zip(("cacert", "cert", "key"), CLIENT_FILES, strict=True)
    files = "&".join(f"{name}=${{CREDENTIALS_DIRECTORY}}/{file}" for name, file in names)
    return f"--store=etcd:{client_url('127.0.0.1')}?{files}"


def service(layout: Layout, settings: ControlPlaneSettings, confined: tuple[str, ...]) -> Service:
    """Return the service of this machine's member."""
    machine = settings.node
    joined = settings.etcd.initialCluster
    options = {
        "name": machine.name,
        "data-dir": str(layout.state / "etcd"),
        "listen-client-urls": f"{client_url('127.0.0.1')},{client_url(machine.ips[0])}",
        "advertise-client-urls": client_url(machine.ips[0]),
        "listen-peer-urls": peer_url(machine),
        "initial-advertise-peer-urls": peer_url(machine),
        # Both are for a member without data.
        "initial-cluster": joined or f"{machine.name}={peer_url(machine)}",
        "initial-cluster-state": "existing" if joined else "new",
        "max-txn-ops": "1024",  # a Service of many ports takes a key for each
        "logger": "zap",
        "log-level": "warn",
    }
    argv = (*(f"--{name}={value}" for name, value in options.items()), *_tls())
    own = ("StateDirectory=podwire/etcd", "StateDirectoryMode=0700", "LimitNOFILE=65536")
    return Service(
        *(PROGRAM, "keeps the objects of the cluster", argv, (*confined, *own)),
        credentials=tuple(layout.pki / name for name in _FILES),
        program="/usr/bin/etcd",
    )


def _tls() -> tuple[str, ...]:
    return tuple(
        flag
        for peer in ("", "peer-")
        for flag in (
            f"--{peer}client-cert-auth=true",
            *file_flags(
                (f"{peer}cert-file", "etcd.crt"),
                (f"{peer}key-file", "etcd.key"),
                (f"{peer}trusted-ca-file", "etcd-ca.crt"),
            ),
        )
    )
