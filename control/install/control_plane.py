"""Make this machine a control plane. Every step may be repeated, and finds what is there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from control.client import Client
from control.install import cluster, credentials, etcd_unit, sharing, systemd, units
from control.install.alone import alone
from control.install.bytecode import compile_parts
from control.install.facts import look
from control.install.layout import InstallError, Layout, Program
from control.install.preflight import Wanted, judge, problems
from control.install.progress import Progress
from control.install.settings import ControlPlaneSettings, check, read, write
from control.install.unitfile import Unit
from control.jointokens import JoinToken

_DNS_PORTS = (units.DNS_METRICS_PORT, units.DNS_HEALTH_PORT, units.DNS_READY_PORT)
_PORTS = (10257, 10259, *_DNS_PORTS)
_PARTS = ("apiserver", "scheduler", "controllers", "dns")
_ETCD_PORTS = (etcd_unit.PORT, etcd_unit.PEER_PORT)


@dataclass(frozen=True, slots=True)
class Joining:
    """What another machine needs to join."""

    server: str
    token: str
    authority_hash: str
    key: str = ""  # the certificate key; without one, no control plane can join

    @property
    def command(self) -> str:
        """The command line, to which --node-ip is added."""
        return (
            f"podwire join {self.server} --token {self.token} "
            f"--discovery-token-ca-cert-hash {self.authority_hash}"
        )

    @property
    def plane_command(self) -> str:
        """The command line of another control plane, to which --node-ip is added."""
        return f"{self.command} --control-plane --certificate-key {self.key}"


@dataclass(frozen=True, slots=True)
class Options:
    """The choices of a run that no file keeps."""

    ignored: tuple[str, ...] = ()
    token: JoinToken | None = None
    token_hours: float = 24.0
    key: str = ""  # seals the keys for other control planes; without one, they are not uploaded


def wanted_of(settings: ControlPlaneSettings) -> Wanted:
    """Return what preflight compares a machine with."""
    etcd = _ETCD_PORTS if settings.has_etcd else ()
    programs = (etcd_unit.PROGRAM,) if settings.has_etcd else ()
    ports = (settings.api.port, *_PORTS, *etcd)
    return Wanted(True, settings.node.ips, ports, programs=programs)


def check_machine(
    layout: Layout, settings: ControlPlaneSettings, ignored: tuple[str, ...], progress: Progress
) -> None:
    """Compare this machine with what a control plane needs; raises InstallError."""
    wanted = wanted_of(settings)
    if systemd.is_running(layout.root) and systemd.is_active("podwire-apiserver.socket"):
        wanted = replace(wanted, own_ports=frozenset(wanted.ports))
    preflight(layout, wanted, ignored, progress)


def preflight(
    layout: Layout, wanted: Wanted, ignored: tuple[str, ...], progress: Progress, runtime: str = ""
) -> None:
    """Compare this machine with what is wanted; raises InstallError."""
    with progress.step("preflight"):
        warnings = judge(problems(look(layout, wanted, runtime), wanted), ignored)
    for line in warnings:
        progress.note(line)


async def install(
    layout: Layout,
    program: Program,
    settings: ControlPlaneSettings,
    options: Options,
    progress: Progress,
) -> Joining:
    """Install, or bring up to these settings; raises InstallError, ClientError, OSError."""
    refuse_changes(layout, settings)
    check_machine(layout, settings, options.ignored, progress)
    with alone(layout, progress):
        write_files(layout, program, settings, progress)
        every = units.control_plane(layout, program, settings)
        count = units.until_api(every)
        with progress.step("API server started"):
            systemd.start(layout, every[:count])
        # Its clients find their rights, and compete with no start for the processors.
        made = await announce(layout, settings, options, progress)
        with progress.step("scheduler, controllers and DNS started"):
            systemd.start(layout, every[count:])
        return made


def write_files(
    layout: Layout, program: Program, settings: ControlPlaneSettings, progress: Progress
) -> None:
    """Write settings, certificates and units; those that are to begin again are then due."""
    every = units.control_plane(layout, program, settings)
    with progress.step(f"certificates in {layout.pki}"):
        layout.config.mkdir(mode=0o755, parents=True, exist_ok=True)
        layout.state.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_credentials(layout, settings, every, datetime.now(UTC))
    for line in credentials.warnings(layout, datetime.now(UTC)):
        progress.note(line)
    with progress.step(f"settings in {layout.cluster_file}"):
        write(layout.cluster_file, settings)
    with progress.step(f"units in {layout.units}"):
        systemd.write_units(layout, every)
    compile_parts(program, _PARTS, progress)


def write_credentials(
    layout: Layout,
    settings: ControlPlaneSettings,
    every: Sequence[Unit],
    now: datetime,
    soon: timedelta = credentials.SOON,
) -> tuple[str, ...]:
    """Make certificates that are missing or end ``soon``; return the files that changed.

    The services have copies, so they are due before a file changes: after a kill between the two
    nothing would show any more that they still run with the old ones. Raises InstallError, OSError.
    """
    readers = [unit.name for unit in every if units.is_service(unit)]
    note = partial(systemd.add_due, layout, readers)
    return credentials.write(layout, settings, now, soon, before=note)


async def announce(
    layout: Layout, settings: ControlPlaneSettings, options: Options, progress: Progress
) -> Joining:
    """Write the objects by which nodes join, and a token; raises InstallError, ClientError."""
    authority = (layout.pki / "ca.crt").read_bytes()
    async with Client.from_kubeconfig(layout.admin) as client:
        with progress.step(f"API server answers at {settings.url}") as say:
            await cluster.wait_answer(client, say)
        with progress.step("objects for joining, the settings of nodes, and the cluster DNS"):
            await cluster.apply(client, cluster.objects(settings, authority))
            token = await cluster.ensure_token(client, options.token, options.token_hours)
        if options.key:
            with progress.step("keys for other control planes, sealed"):
                await sharing.upload(client, layout, options.key)
    digest = credentials.authority_hash(authority)
    return Joining(settings.endpoint, str(token), digest, options.key)


def refuse_changes(layout: Layout, settings: ControlPlaneSettings) -> None:
    """Refuse what a running cluster cannot change; raises InstallError."""
    if not layout.cluster_file.exists():
        return
    before = load(layout)
    for name in ("podCIDRs", "serviceCIDRs"):
        old, new = getattr(before.network, name), getattr(settings.network, name)
        if old != new:
            raise InstallError(
                f"network.{name} is {','.join(old)} in {layout.cluster_file}: a cluster cannot "
                f"change it to {','.join(new)}; for another cluster, run podwire reset first"
            )
    if before.store != settings.store:
        raise InstallError(
            f"store is {before.store} in {layout.cluster_file}: a cluster cannot change it to "
            f"{settings.store}; for another cluster, run podwire reset first"
        )


def load(layout: Layout) -> ControlPlaneSettings:
    """Return the settings of the control plane on this machine; raises InstallError."""
    path = layout.cluster_file
    return check(ControlPlaneSettings, read(path), str(path))
