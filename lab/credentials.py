"""Writes the certificates and kubeconfigs of a lab's machines and of its user."""

import ipaddress
import os
from pathlib import Path

from control.linux import whole
from control.pki import (
    Identity,
    Pair,
    create_authority,
    create_key,
    hosts_of_server,
    issue,
    kubeconfig,
)
from lab.spec import HOLLOW, LabSpec, Machine, api_url, pools
from lab.state import LabDir

_FRONT_PROXY = ("front-proxy-ca.crt", "front-proxy-client.crt", "front-proxy-client.key")
VOLUME_USER, SPEAKER_USER = "podwire:volume-provisioner", "podwire:speaker"
# The users, beside a node's own, as which parts of a machine ask the API server: PART.kubeconfig.
_CONTROL_USERS = {
    "scheduler": Identity("system:kube-scheduler"),
    "controllers": Identity("system:kube-controller-manager"),
    "dns": Identity("system:coredns"),
    "cloud": Identity("system:cloud-controller-manager"),
}
_NODE_USERS = {
    "proxy": Identity("system:kube-proxy", ("system:node-proxier",)),
    "speaker": Identity(SPEAKER_USER),
    "volumes": Identity(VOLUME_USER),
}


def write_credentials(
    lab: LabDir, spec: LabSpec, machines: tuple[Machine, ...], management: str
) -> None:
    """Make an authority and all certificates; ``management`` is the API's URL on this host."""
    authority = create_authority(f"podwire lab {spec.name}")
    authority.save(lab.path / "pki", "ca")
    for machine in machines:
        folder = lab.machine(machine.name) / "etc"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ca.crt").write_bytes(authority.certificate)
        if machine.name == "control":
            _write_control(authority, spec, machine, folder)
        else:
            _write_node(authority, spec, machine, folder)
    write_kubeconfig(lab, spec, authority, management)


def write_kubeconfig(lab: LabDir, spec: LabSpec, authority: Pair, management: str) -> None:
    """Make the user's kubeconfig; ``management`` is the API's URL on this host; raises OSError."""
    admin = issue(authority, Identity("admin", ("system:masters",)))
    text = kubeconfig(f"podwire-{spec.name}", management, authority.certificate, "admin", admin)
    whole.write(lab.kubeconfig, text, 0o600)
    if owner := os.environ.get("SUDO_UID"):
        os.chown(lab.kubeconfig, int(owner), int(os.environ.get("SUDO_GID", "-1")))


def write_node_credentials(lab: LabDir, spec: LabSpec, machine: Machine) -> None:
    """Make the certificates of a node that joins; raises OSError."""
    authority = Pair.load(lab.path / "pki", "ca")
    folder = lab.machine(machine.name) / "etc"
    (folder / "ca.crt").write_bytes(authority.certificate)
    _write_node(authority, spec, machine, folder)


def complete_credentials(lab: LabDir, spec: LabSpec, machines: tuple[Machine, ...]) -> None:
    """Make the credentials of parts that a lab did not have when it was made; raises OSError."""
    authority = Pair.load(lab.path / "pki", "ca")
    for machine in machines:
        folder = lab.machine(machine.name) / "etc"
        users = _CONTROL_USERS if machine.name == "control" else _NODE_USERS
        for part, identity in users.items():
            if not (path := folder / f"{part}.kubeconfig").exists():
                _write_kubeconfig(authority, spec, identity, path)
        if machine.name == "control" and not all((folder / one).exists() for one in _FRONT_PROXY):
            _write_front_proxy(spec, folder)


def _write_control(authority: Pair, spec: LabSpec, machine: Machine, folder: Path) -> None:
    hosts = hosts_of_server((machine.name,), (*machine.ips, *_first_service_ips(spec)))
    issue(authority, Identity("kube-apiserver", hosts=hosts)).save(folder, "apiserver")
    whole.write(folder / "sa.key", create_key().decode(), 0o600)
    whole.write(folder / "ca.key", authority.key.decode(), 0o600)
    kubelet_client = Identity("kube-apiserver-kubelet-client", ("system:masters",))
    issue(authority, kubelet_client).save(folder, "kubelet-client")
    _write_front_proxy(spec, folder)
    whole.write(folder / "cloud.yaml", pools(spec))
    for part, identity in _CONTROL_USERS.items():
        _write_kubeconfig(authority, spec, identity, folder / f"{part}.kubeconfig")
    _write_hollow(authority, spec, folder / HOLLOW)


def _write_hollow(authority: Pair, spec: LabSpec, folder: Path) -> None:
    """Make what each hollow node shows to the API server: the same as any other node."""
    for name in spec.hollow_names:
        folder.mkdir(exist_ok=True)
        identity = Identity(f"system:node:{name}", ("system:nodes",))
        _write_kubeconfig(authority, spec, identity, folder / f"{name}.kubeconfig")


def _write_front_proxy(spec: LabSpec, folder: Path) -> None:
    """Make what the API server shows to extension servers, with an authority of its own."""
    authority = create_authority(f"podwire lab {spec.name} front proxy")
    (folder / "front-proxy-ca.crt").write_bytes(authority.certificate)
    issue(authority, Identity("front-proxy-client")).save(folder, "front-proxy-client")


def _write_node(authority: Pair, spec: LabSpec, machine: Machine, folder: Path) -> None:
    node = Identity(f"system:node:{machine.name}", ("system:nodes",), (machine.name, *machine.ips))
    issue(authority, node).save(folder, "agent")
    _write_kubeconfig(authority, spec, node, folder / "agent.kubeconfig")
    for part, identity in _NODE_USERS.items():
        _write_kubeconfig(authority, spec, identity, folder / f"{part}.kubeconfig")


def _write_kubeconfig(authority: Pair, spec: LabSpec, identity: Identity, path: Path) -> None:
    pair = issue(authority, identity)
    text = kubeconfig("podwire", api_url(spec), authority.certificate, identity.user, pair)
    whole.write(path, text, 0o600)


def _first_service_ips(spec: LabSpec) -> list[str]:
    """Return the addresses of the Service ``kubernetes``: the first of each range."""
    return [str(ipaddress.ip_network(cidr)[1]) for cidr in spec.service_cidrs]
