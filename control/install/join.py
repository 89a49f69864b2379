"""Make this machine a node of a cluster: discover it, get a certificate, and start the units.

A machine that has joined the same cluster keeps its certificate, so that the command may be
repeated with a token that has ended.
"""

import asyncio
import subprocess
from dataclasses import dataclass, replace

import yaml

from control.api import kinds
from control.api.certificates import KUBELET_CLIENT_SIGNER
from control.client import ApiError, Client
from control.client.kubeconfig import ClientConfig, Credentials, KubeconfigError, load
from control.client.signing import node_request, obtain
from control.install import cluster, systemd, units
from control.install.alone import alone
from control.install.bytecode import compile_parts
from control.install.control_plane import preflight
from control.install.credentials import authority_hash, is_valid
from control.install.discovery import Cluster, Discovery, direct, discover
from control.install.layout import InstallError, Layout, Program
from control.install.preflight import Wanted
from control.install.progress import Progress
from control.install.settings import (
    ClusterSettings,
    MachineSettings,
    NodeSettings,
    bracketed,
    check,
    read,
    write,
)
from control.install.unitfile import Unit
from control.linux import whole

AGENT_PORT, PROXY_PORTS = 10250, (10249, 10256)
_PARTS = ("balancer", "cni", "agent", "proxy")
_SECONDS = 300.0  # kubeadm's, for a certificate
_CNI_SECONDS = 240.0
_CERTIFICATE = "agent-client-current.pem"


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """What this node is to be."""

    machine: MachineSettings
    runtime: str = ""
    labels: str = ""
    taints: str = ""
    ignored: tuple[str, ...] = ()


async def join(
    layout: Layout, program: Program, wanted: Discovery, options: NodeOptions, progress: Progress
) -> NodeSettings:
    """Join, or bring the node up to its options; raises InstallError, ClientError, OSError."""
    check_machine(layout, options, progress)
    found = joined(layout, wanted, options)
    way, known = (_way(found, wanted), _known(layout)) if found else ("", ())
    if found is None:
        with progress.step(f"cluster discovered at {wanted.server}") as say:
            found = await discover(wanted, say)
        way = direct(wanted, found)
        with progress.step(f"certificate of node {options.machine.name}"):
            await _certify(layout, found, wanted, options)
    with progress.step("settings of the cluster"):
        shared, servers = await _shared(layout, way, wanted, options)
    if shared.balancer:
        found = replace(found, url=units.BALANCER_URL)
        whole.write(layout.agent, _kubeconfig(layout, found, options.machine.name), 0o600)
    settings = NodeSettings(
        node=options.machine,
        server=found.url,
        servers=known or servers,
        runtime=options.runtime,
        cluster=shared,
        labels=options.labels,
        taints=options.taints,
    )
    start(layout, program, settings, progress)
    return settings


def check_machine(layout: Layout, options: NodeOptions, progress: Progress) -> None:
    """Compare this machine with what a node needs; raises InstallError."""
    ports = (AGENT_PORT, *PROXY_PORTS)
    running = systemd.is_running(layout.root) and any(
        systemd.is_active(f"{name}.service") for name in units.NODE
    )
    own = frozenset(ports if running else ())
    wanted = Wanted(False, options.machine.ips, ports, own)
    preflight(layout, wanted, options.ignored, progress, options.runtime)


def write_files(
    layout: Layout, program: Program, settings: NodeSettings, progress: Progress
) -> tuple[Unit, ...]:
    """Write a node's files and units, which it returns; raises InstallError, OSError."""
    with progress.step("CNI plugin"):
        install_plugin(program)
    every = units.node(layout, program, settings)
    with progress.step(f"settings in {layout.node_file}, units in {layout.units}"):
        write(layout.node_file, settings)
        systemd.write_units(layout, every)
    compile_parts(program, _PARTS, progress)
    return every


def start(layout: Layout, program: Program, settings: NodeSettings, progress: Progress) -> None:
    """Write a node's files and units, and start them; raises InstallError, OSError."""
    with alone(layout, progress):
        every = write_files(layout, program, settings, progress)
        with progress.step("units started"):
            systemd.start(layout, every)


def install_plugin(program: Program) -> None:
    """Put the CNI plugin where runtimes look; the agent writes its configuration."""
    argv = program.argv("cni", "install", "--no-conf")
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_CNI_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as err:
        raise InstallError(f"podwire cni install did not end in {_CNI_SECONDS:.0f} s") from err
    if done.returncode:
        raise InstallError(done.stderr.strip() or "podwire cni install failed")


def joined(layout: Layout, wanted: Discovery, options: NodeOptions) -> Cluster | None:
    """Return the cluster that this machine has joined, if it is the wanted one.

    Raises InstallError if it is a node of another cluster.
    """
    if not layout.agent.exists():
        return None
    try:
        held = load(layout.agent)
    except KubeconfigError:
        return None  # half made: begin again
    if held.ca is None or not is_valid(layout.node_pki / _CERTIFICATE, held.ca):
        return None
    if wanted.hashes and authority_hash(held.ca) not in wanted.hashes:
        raise InstallError(
            f"this machine is a node of {held.server}, another cluster: run podwire reset first"
        )
    return Cluster(held.server, held.ca) if _is_named(layout, options) else None


def _is_named(layout: Layout, options: NodeOptions) -> bool:
    """Return True if the node's kubeconfig is that of this name."""
    document = yaml.load(layout.agent.read_text(), Loader=yaml.CSafeLoader)  # we wrote it
    return bool(document["users"][0]["name"] == f"system:node:{options.machine.name}")


async def _certify(layout: Layout, found: Cluster, wanted: Discovery, options: NodeOptions) -> None:
    credentials = Credentials(token=str(wanted.token))
    config = ClientConfig(direct(wanted, found), ca=found.authority, credentials=credentials)
    name = options.machine.name
    async with Client(config) as client:
        try:
            await _refuse_double(client, name)
            asked = node_request(name, KUBELET_CLIENT_SIGNER)
            certificate = await asyncio.wait_for(obtain(client, asked), _SECONDS)
        except TimeoutError as err:
            raise InstallError(
                f"CertificateSigningRequest {asked.name} was not approved and signed in "
                f"{_SECONDS:.0f} s: is podwire-controllers running on the control plane? "
                f"kubectl certificate approve {asked.name} approves it by hand"
            ) from err
        except ApiError as err:
            raise _explained(err, wanted) from err
    _write(layout, found, name, certificate, asked.key)


def _explained(err: ApiError, wanted: Discovery) -> InstallError:
    if err.code == 401:
        return InstallError(
            f"the cluster does not let token {wanted.token.id} in: it has ended, or may only "
            "sign; run `podwire token create --print-join-command` on the control plane"
        )
    return InstallError(str(err))


async def _refuse_double(client: Client, name: str) -> None:
    """Refuse the name of a node that is ready: two machines would fight for it; as kubeadm."""
    try:
        node = await client.get(kinds.NODE, None, name)
    except ApiError as err:
        if err.code == 404:
            return
        raise
    if any(each.type == "Ready" and each.status == "True" for each in node.status.conditions):
        raise InstallError(
            f"the cluster has a Node {name} that is Ready: choose another --node-name, or "
            f"delete it: kubectl delete node {name}"
        )


def _write(layout: Layout, found: Cluster, name: str, certificate: bytes, key: bytes) -> None:
    """Write what a node has of its cluster; the kubeconfig, which says that all is there, last."""
    layout.pki.mkdir(mode=0o755, parents=True, exist_ok=True)
    layout.node_pki.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = layout.node_pki / _CERTIFICATE
    whole.write(path, (certificate + key).decode(), 0o600)
    if not (layout.pki / "ca.key").exists():
        whole.write(layout.pki / "ca.crt", found.authority.decode())
    whole.write(layout.agent, _kubeconfig(layout, found, name), 0o600)


def _kubeconfig(layout: Layout, found: Cluster, name: str) -> str:
    path, user = str(layout.node_pki / _CERTIFICATE), f"system:node:{name}"
    target = {"server": found.url, "certificate-authority": str(layout.pki / "ca.crt")}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "podwire", "cluster": target}],
        "users": [{"name": user, "user": {"client-certificate": path, "client-key": path}}],
        "contexts": [{"name": "podwire", "context": {"cluster": "podwire", "user": user}}],
        "current-context": "podwire",
    }
    return yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False)


async def _shared(
    layout: Layout, way: str, wanted: Discovery, options: NodeOptions
) -> tuple[ClusterSettings, tuple[str, ...]]:
    """Return the settings of the cluster, and the API servers that a balancer begins with."""
    config = load(layout.agent)
    async with Client(replace(config, server=way)) as client:
        shared = await cluster.read_settings(client)
        if shared.balancer:
            await _refuse_alike(client, options.machine)
            return shared, await _servers(client, wanted)
    async with Client(config) as client:  # by the way that the node is going to use
        await _refuse_alike(client, options.machine)
    return shared, ()


def _known(layout: Layout) -> tuple[str, ...]:
    """Return what the balancer of an earlier run began with; it has followed the others since."""
    if not layout.node_file.exists():
        return ()
    return check(NodeSettings, read(layout.node_file), str(layout.node_file)).servers


def _way(held: Cluster, wanted: Discovery) -> str:
    """Return the URL by which a machine asks that has joined: its own balancer may not run."""
    if held.url == units.BALANCER_URL and not systemd.is_active("podwire-balancer.service"):
        return f"https://{wanted.server}"
    return held.url


async def _servers(client: Client, wanted: Discovery) -> tuple[str, ...]:
    found = await cluster.servers(client)
    every = (wanted.server, *(f"{bracketed(address)}:{port}" for address, port in found))
    return tuple(sorted(set(every)))


async def _refuse_alike(client: Client, machine: MachineSettings) -> None:
    if other := await cluster.other_with(client, machine.name, machine.ips):
        raise InstallError(
            f"Node {other} has an address of {', '.join(machine.ips)} too: machines that are "
            "copies of each other need addresses of their own; give another --node-ip, or "
            "delete that Node"
        )
