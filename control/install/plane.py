"""Make this machine another control plane of a cluster, as ``kubeadm join --control-plane`` does.

It discovers the cluster as a node does, gets the keys that control planes have in common, makes
its own certificates, adds a member to etcd, and starts its own API server, scheduler and
controllers, of which one leads.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from control.api import kinds
from control.client import ApiError, Client, ClientError
from control.client.kubeconfig import ClientConfig, Credentials, load
from control.install import cluster, control_plane, member, sharing, systemd, units
from control.install.alone import alone
from control.install.credentials import authority_hash
from control.install.discovery import Discovery, direct, discover
from control.install.layout import InstallError, Layout, Program
from control.install.progress import Progress
from control.install.settings import (
    ApiSettings,
    ControlPlaneSettings,
    EtcdSettings,
    MachineSettings,
)

_ETCD = "podwire-etcd.service"


@dataclass(frozen=True, slots=True)
class PlaneOptions:
    """What this control plane is to be."""

    machine: MachineSettings
    key: str  # the certificate key
    api: ApiSettings = field(default_factory=ApiSettings)
    ignored: tuple[str, ...] = ()


async def join(
    layout: Layout, program: Program, wanted: Discovery, options: PlaneOptions, progress: Progress
) -> ControlPlaneSettings:
    """Join, or go on where a run ended; raises InstallError, ClientError, OSError."""
    settings = _held(layout, wanted)
    control_plane.check_machine(layout, settings or _alike(options), options.ignored, progress)
    if settings is None:
        settings = await _begun(layout, wanted, options, progress)
    with alone(layout, progress):
        return await _installed(layout, program, settings, wanted, progress)


def _alike(options: PlaneOptions) -> ControlPlaneSettings:
    return ControlPlaneSettings(node=options.machine, api=options.api, store="etcd")


def _held(layout: Layout, wanted: Discovery) -> ControlPlaneSettings | None:
    """Return the settings of an earlier run; raises InstallError if they are another cluster's."""
    if not layout.cluster_file.exists():
        return None
    held = authority_hash((layout.pki / "ca.crt").read_bytes())
    if wanted.hashes and held not in wanted.hashes:
        raise InstallError(
            "this machine is a control plane of another cluster: run podwire reset first"
        )
    settings = control_plane.load(layout)
    if not settings.etcd.initialCluster:
        raise InstallError("this machine is the cluster's first control plane: it cannot join it")
    return settings


async def _begun(
    layout: Layout, wanted: Discovery, options: PlaneOptions, progress: Progress
) -> ControlPlaneSettings:
    """Discover the cluster, write its keys, and return the settings of this control plane."""
    with progress.step(f"cluster discovered at {wanted.server}") as say:
        found = await discover(wanted, say)
    credentials = Credentials(token=str(wanted.token))
    url = direct(wanted, found)
    async with Client(ClientConfig(url, ca=found.authority, credentials=credentials)) as client:
        with progress.step("settings and keys of the cluster"):
            shared = await cluster.read_settings(client)
            files = await sharing.download(client, options.key)
    sharing.save(layout.pki, files)
    endpoint = "" if shared.balancer else found.url.removeprefix("https://")
    api = options.api.model_copy(update={"endpoint": endpoint})
    common = shared.model_dump(exclude={"balancer"})
    return ControlPlaneSettings(**common, node=options.machine, api=api, store="etcd")


async def _installed(
    layout: Layout,
    program: Program,
    settings: ControlPlaneSettings,
    wanted: Discovery,
    progress: Progress,
) -> ControlPlaneSettings:
    every = units.control_plane(layout, program, settings)
    control_plane.write_credentials(layout, settings, every, datetime.now(UTC))
    others = await _others(layout, settings, wanted)
    with progress.step(f"member of etcd added, beside {', '.join(others)}") as say:
        first = await member.enter(layout, settings, others, say)
    settings = settings.model_copy(update={"etcd": EtcdSettings(initialCluster=first)})
    every = units.control_plane(layout, program, settings)
    control_plane.write_files(layout, program, settings, progress)
    with progress.step("etcd started, and its member promoted") as say:
        systemd.start(layout, [unit for unit in every if unit.name == _ETCD])
        await member.promote(layout, settings, others, say)
    count = units.until_api(every)
    with progress.step("API server started"):
        systemd.start(layout, [unit for unit in every[:count] if unit.name != _ETCD])
    async with Client.from_kubeconfig(layout.admin) as client:
        with progress.step(f"API server answers at {settings.url}") as say:
            await cluster.wait_answer(client, say)
            await cluster.apply(client, cluster.dns_slices(settings))
    with progress.step("scheduler, controllers and DNS started"):
        systemd.start(layout, every[count:])
    return settings


async def _others(
    layout: Layout, settings: ControlPlaneSettings, wanted: Discovery
) -> Sequence[str]:
    """Return the addresses of the other control planes; raises InstallError, ClientError."""
    config = replace(load(layout.admin), server=f"https://{wanted.server}")
    async with Client(config) as client:
        found = await cluster.servers(client)
    if others := [address for address, _ in found if address not in settings.node.ips]:
        return others
    raise InstallError(
        f"{wanted.server} names no other API server in the endpoints of Service kubernetes: "
        "give the address of another control plane"
    )


async def leave(
    layout: Layout, settings: ControlPlaneSettings, say: Callable[[str], None]
) -> list[str]:
    """Take this control plane out of its cluster; return what was removed.

    Nothing is, if it is the only one. Raises InstallError, OSError.
    """
    with suppress(ClientError):  # what is left there leads nobody here: it is not ready any more
        async with Client.from_kubeconfig(layout.admin) as client:
            if len(await cluster.servers(client)) > 1:
                for kind, wire in cluster.dns_slices(settings):
                    await _delete(client, kind, wire["metadata"])
    return ["the member of etcd"] if await member.leave(layout, settings, say) else []


async def _delete(client: Client, kind: kinds.Kind[Any], meta: dict[str, Any]) -> None:
    try:
        await client.delete(kind, meta["namespace"], meta["name"])
    except ApiError as err:
        if not err.not_found:
            raise
