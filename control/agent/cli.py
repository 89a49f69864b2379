"""``podwire agent``: reads flags and runs an agent."""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click

from control.agent import cleanup, halt
from control.agent.agent import Agent
from control.agent.certificates import SERVER
from control.agent.config import (
    REQUESTS_AT_ONCE,
    Config,
    FlagError,
    NodeCertificates,
    ServerConfig,
    addresses,
    cidrs,
    image_collection,
    labels,
    log_limits,
    shutdown_periods,
    taints,
    thresholds,
)
from control.agent.node.describe import NodeIdentity
from control.agent.pressure import DEFAULT
from control.agent.server.app import ServerSettingsError
from control.agent.volumes.plan import PROVISIONER
from control.agent.volumes.provisioner import Provisioner
from control.client import Client
from control.client.events import EventRecorder
from control.client.measured import RequestMetrics
from control.client.process import configuration, run
from control.metrics import Registry
from control.runtime.base import ContainerRuntimeError
from control.runtime.cri.endpoint import EndpointError, socket_path
from control.tls import RECORD, CertificateError, limit_buffers

_path = click.Path(path_type=Path)


@click.command()
@click.option("--kubeconfig", type=_path, help="API server and credentials.")
@click.option(
    "--network-kubeconfig",
    type=_path,
    help="Credentials that may list all Nodes, for the node network. Default: --kubeconfig.",
)
@click.option(
    "--volume-kubeconfig",
    type=_path,
    help="Credentials that may write PersistentVolumes, to make them for claims. Default: none.",
)
@click.option("--node-name", default=socket.gethostname, help="Default: the host name.")
@click.option("--node-ip", default="", help="This node's address, IP[,IP6].")
@click.option("--node-labels", default="", help="Labels to register with, KEY=VALUE,...")
@click.option(
    "--register-with-taints",
    default="",
    help="Taints to register with, KEY[=VALUE]:EFFECT,...; a known node keeps its own.",
)
@click.option(
    "--cloud-provider",
    type=click.Choice(["external"]),
    help="Register with a taint, until a cloud controller manager has initialized the node.",
)
@click.option(
    "--overlay",
    type=click.Choice(["routes", "vxlan"]),
    default="routes",
    show_default=True,
    help="How Pods' packets reach other nodes.",
)
@click.option(
    "--cluster-cidr",
    default="",
    help="Pod ranges, CIDR[,CIDR6]. Default: those of all Nodes.",
)
@click.option("--cluster-dns", default="", help="DNS servers of the cluster, IP[,IP6].")
@click.option("--cluster-domain", default="cluster.local", show_default=True)
@click.option("--resolv-conf", type=_path, default=Path("/etc/resolv.conf"), show_default=True)
@click.option("--tls-cert", type=_path, help="Certificate of the agent's server on --port.")
@click.option("--tls-key", type=_path)
@click.option("--client-ca", type=_path, help="Authority of the clients that the server accepts.")
@click.option(
    "--rotate-certificates",
    is_flag=True,
    help="Renew the certificate of --kubeconfig, agent-client-current.pem of --cert-dir, in time.",
)
@click.option(
    "--rotate-server-certificates",
    is_flag=True,
    help="Ask the cluster for the server's certificate, and renew it, in place of --tls-cert.",
)
@click.option(
    "--cert-dir",
    type=_path,
    default=Path("/var/lib/podwire/agent/pki"),
    show_default=True,
    help="Folder of the certificates that are renewed.",
)
@click.option("--address", default="", help="Address on which the server listens. Default: all.")
@click.option("--port", type=click.IntRange(1, 65535), default=10250, show_default=True)
@click.option(
    "--pod-manifest-path",
    type=_path,
    help="File or folder of static Pods, which run without an API server. Default: none.",
)
@click.option("--root-dir", type=_path, default=Path("/var/lib/podwire/agent"), show_default=True)
@click.option(
    "--volume-dir",
    type=_path,
    default=Path("/var/lib/podwire/volumes"),
    show_default=True,
    help="Folder of the volumes that are made for claims.",
)
@click.option(
    "--container-runtime-endpoint",
    default="",
    help="Socket of a CRI runtime, such as unix:///run/containerd/containerd.sock. Default: none; "
    "the agent runs containers itself.",
)
@click.option("--image-dir", type=_path, default=Path("/var/lib/podwire/images"), show_default=True)
@click.option(
    "--additional-image-dir",
    type=_path,
    multiple=True,
    help="Folder of images that --image-dir has not; repeatable.",
)
@click.option("--cni-conf-dir", type=_path, default=Path("/etc/cni/net.d"), show_default=True)
@click.option("--cni-bin-dir", default="/opt/cni/bin", show_default=True, help="DIR[:DIR...]")
@click.option("--cni-cache-dir", type=_path, default=Path("/var/lib/cni"), show_default=True)
@click.option(
    "--cgroup-root", default="", help="Default: derived from the agent's own cgroup, or /podwire."
)
@click.option(
    "--pod-max-pids",
    type=click.IntRange(-1),
    default=-1,
    show_default=True,
    help="Most processes of a Pod; -1 is no limit.",
)
@click.option(
    "--eviction-hard",
    default=DEFAULT,
    show_default=True,
    help="The least amounts; while the node has less, Pods are ended. Empty: none are.",
)
@click.option(
    "--seccomp-default",
    is_flag=True,
    help="Containers without a seccomp profile get RuntimeDefault; else they are Unconfined.",
)
@click.option(
    "--image-gc-high-threshold",
    type=click.IntRange(0, 100),
    help="Percent of the images' disk in use, from which unused images are removed; 100: never. "
    "Default: 85 with a CRI runtime, else never.",
)
@click.option(
    "--image-gc-low-threshold",
    type=click.IntRange(0, 100),
    default=80,
    show_default=True,
    help="Percent at which that ends.",
)
@click.option(
    "--image-maximum-gc-age",
    type=click.FloatRange(0),
    default=0,
    metavar="SECONDS",
    help="Remove images that nobody has used for longer, also while there is room. "
    "Default: 0, never.",
)
@click.option(
    "--container-log-max-size",
    default="10Mi",
    show_default=True,
    help="Size at which a container's log is rotated; negative: never.",
)
@click.option(
    "--container-log-max-files",
    type=click.IntRange(2),
    default=5,
    show_default=True,
    help="Most files of one container's log.",
)
@click.option(
    "--shutdown-grace-period",
    type=click.FloatRange(0),
    default=0,
    metavar="SECONDS",
    help="Let Pods end by themselves for as long when the machine goes down. Default: 0, never.",
)
@click.option(
    "--shutdown-grace-period-critical-pods",
    type=click.FloatRange(0),
    default=0,
    metavar="SECONDS",
    help="The last part of it, which only critical Pods get. Default: 0.",
)
@click.option(
    "--cleanup",
    "clean",
    is_flag=True,
    help="Remove every Pod and the whole node network, then exit.",
)
@click.option(
    "--stop-containers",
    "grace",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="Stop every container, by force after SECONDS, then exit: before the machine goes down.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log every decision.")
def main(
    verbose: bool, clean: bool, grace: float | None, kubeconfig: Path | None, **flags: Any
) -> None:
    """Run the Pods of this node and connect it to the others."""
    try:
        config = from_flags(flags)
    except FlagError as err:
        raise click.UsageError(str(err)) from err
    if os.geteuid() != 0:
        raise click.UsageError("run as root: Pods need namespaces, mounts and control groups")
    if clean:
        run(cleanup.remove_all(config), verbose=verbose)
        return
    if grace is not None:
        run(halt.stop_containers(config, grace), verbose=verbose)
        return
    if kubeconfig is None:
        raise click.UsageError("Missing option '--kubeconfig'.")
    if not config.identity.addresses:
        raise click.UsageError(
            "Missing option '--node-ip': the address of this host that other nodes use."
        )
    limit_buffers(4 * RECORD)  # a hundred Pods that begin have two hundred connections
    network = flags["network_kubeconfig"] or kubeconfig
    volumes = flags["volume_kubeconfig"], flags["volume_dir"]
    run(_serve(config, kubeconfig, network, *volumes), verbose=verbose)


def from_flags(flags: dict[str, Any]) -> Config:
    """Return the settings; raises FlagError."""
    return Config(
        identity=_identity(flags),
        overlay=flags["overlay"],
        cluster=cidrs("--cluster-cidr", flags["cluster_cidr"]),
        root=flags["root_dir"],
        runtime_endpoint=_endpoint(flags["container_runtime_endpoint"]),
        manifests=flags["pod_manifest_path"],
        image_dirs=(flags["image_dir"], *flags["additional_image_dir"]),
        cni_conf_dir=flags["cni_conf_dir"],
        cni_bin_dirs=tuple(Path(part) for part in flags["cni_bin_dir"].split(":") if part),
        cni_cache_dir=flags["cni_cache_dir"],
        cgroup_root=flags["cgroup_root"],
        pod_pids=flags["pod_max_pids"],
        seccomp_default=flags["seccomp_default"],
        image_collection=image_collection(
            flags["image_gc_high_threshold"],
            flags["image_gc_low_threshold"],
            flags["container_runtime_endpoint"],
            flags["image_maximum_gc_age"],
        ),
        logs=log_limits(flags["container_log_max_size"], flags["container_log_max_files"]),
        eviction_hard=thresholds("--eviction-hard", flags["eviction_hard"]),
        shutdown=shutdown_periods(
            flags["shutdown_grace_period"], flags["shutdown_grace_period_critical_pods"]
        ),
        cluster_dns=addresses("--cluster-dns", flags["cluster_dns"]),
        cluster_domain=flags["cluster_domain"],
        resolv_conf=flags["resolv_conf"],
        server=_server(flags),
        certificates=NodeCertificates(
            flags["cert_dir"], flags["rotate_certificates"], flags["rotate_server_certificates"]
        ),
    )


def _identity(flags: dict[str, Any]) -> NodeIdentity:
    return NodeIdentity(
        flags["node_name"].lower(),
        addresses("--node-ip", flags["node_ip"]),
        labels("--node-labels", flags["node_labels"]),
        taints("--register-with-taints", flags["register_with_taints"]),
        cloud=flags["cloud_provider"] == "external",
    )


def _endpoint(text: str) -> str:
    try:
        return f"unix://{socket_path(text)}" if text else ""
    except EndpointError as err:
        raise FlagError(f"--container-runtime-endpoint: {err}") from err


def _server(flags: dict[str, Any]) -> ServerConfig:
    files = {name: flags[name] for name in ("tls_cert", "tls_key", "client_ca")}
    if flags["rotate_server_certificates"]:
        return _rotated(flags, files)
    given = [name for name, path in files.items() if path is not None]
    if given and len(given) < len(files):
        raise FlagError("--tls-cert, --tls-key and --client-ca go together")
    for name in given:
        if not files[name].is_file():
            raise FlagError(f"--{name.replace('_', '-')}: no file {files[name]}")
    return ServerConfig(flags["address"], flags["port"], *files.values())


def _rotated(flags: dict[str, Any], files: dict[str, Any]) -> ServerConfig:
    if files["tls_cert"] or files["tls_key"] or not files["client_ca"]:
        raise FlagError("--rotate-server-certificates needs --client-ca, and no --tls-cert")
    path = NodeCertificates(flags["cert_dir"]).path(SERVER)
    return ServerConfig(flags["address"], flags["port"], path, path, files["client_ca"])


async def _serve(
    config: Config, kubeconfig: Path, network: Path, volumes: Path | None, volume_dir: Path
) -> None:
    if sys.version_info < (3, 12):
        # The default watcher of 3.11 takes a waiting thread for every process that is started.
        watcher = asyncio.PidfdChildWatcher()
        watcher.attach_loop(asyncio.get_running_loop())
        asyncio.set_child_watcher(watcher)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    metrics = Registry()
    counted = RequestMetrics(metrics)
    async with (
        Client(configuration(kubeconfig), counted, REQUESTS_AT_ONCE) as client,
        Client(configuration(network), counted) as network_client,
        EventRecorder(client, "kubelet", host=config.identity.name) as events,
        _provisioner(config, volumes, volume_dir) as provisioner,
    ):
        try:
            await Agent(config, client, events, network_client, provisioner, metrics).run()
        except (OSError, ContainerRuntimeError, ServerSettingsError, CertificateError) as err:
            sys.exit(f"podwire agent: {err}")


@asynccontextmanager
async def _provisioner(
    config: Config, kubeconfig: Path | None, folder: Path
) -> AsyncIterator[Provisioner | None]:
    """Yield what makes this node's volumes; None without credentials for it."""
    if kubeconfig is None:
        yield None
        return
    name = config.identity.name
    async with (
        Client(configuration(kubeconfig)) as client,
        EventRecorder(client, PROVISIONER, host=name) as events,
    ):
        yield Provisioner(client, events, name, folder)
