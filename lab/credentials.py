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
from lab.spec import (
    CONTROL_NAMES,
    HOLLOW,
    SWITCH_HOST,
    LabSpec,
    Machine,
    addresses_of,
    api_url,
    control_host,
    pools,
)
from lab.state import LabDir

_FRONT_PROXY = ("front-proxy-ca.crt", "front-proxy-client.crt", "front-proxy-client.key")
_SHARED = ("sa.key", *_FRONT_PROXY)
BALANCER_USER = "podwire:balancer"
_BALANCER = Identity(BALANCER_USER)
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
        if machine.name in spec.controls:
            _write_control(authority, spec, machine, folder)
        else:
            _write_node(authority, spec, machine, folder)
    if spec.is_balanced:
        _share(lab, spec)
        _write_etcd(lab, spec, machines)
        _write_kubeconfig(authority, spec, _BALANCER, balancer_kubeconfig(lab))
    write_kubeconfig(lab, spec, authority, management)


def balancer_kubeconfig(lab: LabDir) -> Path:
    """Return the file by which the balancer asks the API."""
    return lab.path / "pki" / "balancer.kubeconfig"


def inside_kubeconfig(lab: LabDir, spec: LabSpec) -> Path:
    """Return a file by which a process in the lab's network may read Nodes."""
    if spec.is_balanced:  # any of the control planes may be away
        return lab.machine(spec.nodes[0].name) / "etc" / "proxy.kubeconfig"
    return lab.machine(spec.controls[0]) / "etc" / "scheduler.kubeconfig"


def _share(lab: LabDir, spec: LabSpec) -> None:
    """Give all control planes the keys of the first: what one server signs, all believe."""
    first, *others = (lab.machine(name) / "etc" for name in spec.controls)
    for folder in others:
        for name in _SHARED:
            whole.write(folder / name, (first / name).read_text(), 0o600)


def _write_etcd(lab: LabDir, spec: LabSpec, machines: tuple[Machine, ...]) -> None:
    """Make the authority of etcd's members and its client, which has signed nobody else."""
    authority = create_authority(f"podwire lab {spec.name} etcd")
    authority.save(lab.path / "pki", "etcd-ca")
    for machine in machines:
        if machine.name in spec.controls:
            folder = lab.machine(machine.name) / "etc"
            (folder / "etcd-ca.crt").write_bytes(authority.certificate)
            hosts = (machine.name, "localhost", "127.0.0.1", "::1", *machine.ips)
            issue(authority, Identity(machine.name, hosts=hosts)).save(folder, "etcd")
            issue(authority, Identity("kube-apiserver-etcd-client")).save(folder, "etcd-client")


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


def write_hollow_credentials(lab: LabDir, spec: LabSpec) -> None:
    """Make the credentials of hollow nodes that have none yet; raises OSError."""
    authority = Pair.load(lab.path / "pki", "ca")
    _write_hollow(authority, spec, lab.machine(CONTROL_NAMES[0]) / "etc" / HOLLOW)


def complete_credentials(lab: LabDir, spec: LabSpec, machines: tuple[Machine, ...]) -> None:
    """Make the credentials of parts that a lab did not have when it was made; raises OSError."""
    authority = Pair.load(lab.path / "pki", "ca")
    for machine in machines:
        folder = lab.machine(machine.name) / "etc"
        users = _CONTROL_USERS if machine.name in spec.controls else _NODE_USERS
        for part, identity in users.items():
            if not (path := folder / f"{part}.kubeconfig").exists():
                _write_kubeconfig(authority, spec, identity, path)
        has_proxy = all((folder / one).exists() for one in _FRONT_PROXY)
        if machine.name in spec.controls and not has_proxy:
            _write_front_proxy(spec, folder)
    write_hollow_credentials(lab, spec)


def _write_control(authority: Pair, spec: LabSpec, machine: Machine, folder: Path) -> None:
    balancer = tuple(address.partition("/")[0] for address in addresses_of(spec, SWITCH_HOST))
    addresses = (*machine.ips, *_first_service_ips(spec), *(balancer if spec.is_balanced else ()))
    hosts = hosts_of_server((machine.name,), addresses)
    issue(authority, Identity("kube-apiserver", hosts=hosts)).save(folder, "apiserver")
    whole.write(folder / "sa.key", create_key().decode(), 0o600)
    whole.write(folder / "ca.key", authority.key.decode(), 0o600)
    kubelet_client = Identity("kube-apiserver-kubelet-client", ("system:masters",))
    issue(authority, kubelet_client).save(folder, "kubelet-client")
    _write_front_proxy(spec, folder)
    whole.write(folder / "cloud.yaml", pools(spec))
    here = api_url(spec, control_host(machine.name))
    for part, identity in _CONTROL_USERS.items():
        # As kubeadm's: who leads asks the server beside it. DNS has answers while that is away.
        url = api_url(spec) if part == "dns" else here
        _write_kubeconfig(authority, spec, identity, folder / f"{part}.kubeconfig", url)
    if machine.name == CONTROL_NAMES[0]:
        _write_hollow(authority, spec, folder / HOLLOW)


def _write_hollow(authority: Pair, spec: LabSpec, folder: Path) -> None:
    """Make what each hollow node shows to the API server: the same as any other node."""
    for name in spec.hollow_names:
        folder.mkdir(exist_ok=True)
        if (folder / f"{name}.kubeconfig").exists():
            continue
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


def _write_kubeconfig(
    authority: Pair, spec: LabSpec, identity: Identity, path: Path, url: str = ""
) -> None:
    pair, url = issue(authority, identity), url or api_url(spec)
    text = kubeconfig("podwire", url, authority.certificate, identity.user, pair)
    whole.write(path, text, 0o600)


def _first_service_ips(spec: LabSpec) -> list[str]:
    """Return the addresses of the Service ``kubernetes``: the first of each range."""
    return [str(ipaddress.ip_network(cidr)[1]) for cidr in spec.service_cidrs]
