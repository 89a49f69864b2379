"""Take up a new version of podwire in place: units one after the other, the data plane goes on.

Sockets, rules, routes and containers outlive their programs: a restart of the proxy or of the agent
changes no packet's way, and clients of the API wait in its socket.
"""

from control.client import Client
from control.install import cluster, control_plane, join, systemd, units
from control.install.alone import alone
from control.install.layout import InstallError, Layout, Program
from control.install.progress import Progress
from control.install.settings import NodeSettings, check, read


async def upgrade(layout: Layout, program: Program, progress: Progress) -> tuple[str, ...]:
    """Upgrade what is installed; return the restarted units. Raises InstallError, OSError."""
    has_control, has_node = layout.cluster_file.exists(), layout.node_file.exists()
    if not has_control and not has_node:
        raise InstallError(
            f"nothing is installed here: there is neither {layout.cluster_file} nor "
            f"{layout.node_file}; run podwire install control-plane or podwire join"
        )
    done: list[str] = []
    with alone(layout, progress):
        if has_control:
            done += await _control_plane(layout, program, progress)
        if has_node:
            done += await _node(layout, program, progress)
    return tuple(done)


async def _control_plane(layout: Layout, program: Program, progress: Progress) -> list[str]:
    settings = control_plane.load(layout)
    control_plane.write_files(layout, program, settings, progress)
    every = units.control_plane(layout, program, settings)
    services = [unit for unit in every if units.is_service(unit)]
    systemd.start(layout, [unit for unit in every if unit not in services])
    for unit in services:
        with progress.step(f"{unit.name} restarted"):
            systemd.restart(layout, unit)
        if unit.name == "podwire-apiserver.service":
            async with Client.from_kubeconfig(layout.admin) as client:
                with progress.step(f"API server answers at {settings.url}") as say:
                    await cluster.wait_answer(client, say)
    async with Client.from_kubeconfig(layout.admin) as client:
        with progress.step("objects of the cluster"):
            authority = (layout.pki / "ca.crt").read_bytes()
            await cluster.apply(client, cluster.objects(settings, authority))
    return [unit.name for unit in services]


async def _node(layout: Layout, program: Program, progress: Progress) -> list[str]:
    settings = check(NodeSettings, read(layout.node_file), str(layout.node_file))
    async with Client.from_kubeconfig(layout.agent) as client:
        with progress.step("settings of the cluster"):
            shared = await cluster.read_settings(client)
    settings = settings.model_copy(update={"cluster": shared})
    every = join.write_files(layout, program, settings, progress)
    for unit in every:
        with progress.step(f"{unit.name} restarted"):
            systemd.restart(layout, unit)
    return [unit.name for unit in every]
