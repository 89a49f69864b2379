"""Declares the commands of ``podwire lab``; commands.py and light_commands.py carry them out.

These are imported only when a command runs: commands.py imports most of podwire (a second), and a
shell that completes a word needs only the declarations.
"""

from typing import Any

import click
from click.core import ParameterSource

from lab.completion import complete_component, complete_logged, complete_machine
from lab.link.cli import link
from lab.load_cli import load
from lab.node_cli import node
from lab.options import group_name_option, name_option, output_option
from lab.saved.cli import restore, save
from lab.spec import BUILTIN, CONTROL_COUNTS, POD_CIDRS, RUNTIMES, SERVICE_CIDRS, SQLITE, STORES
from lab.watch.cli import watch
from proxy.backends.base import BACKENDS
from proxy.model.settings import CounterDetail

TYPES = ("A", "AAAA", "CNAME", "NS", "PTR", "SOA", "SRV", "TXT")


def beside_file(ctx: click.Context) -> dict[str, Any]:
    """Return the demo and name that stand beside ``--file``; raises UsageError for others."""
    given = {
        name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if extra := sorted(given - {"file", "name", "demo"}):
        options = ", ".join(f"--{name.replace('_', '-')}" for name in extra)
        raise click.UsageError(f"{options} and --file: write it into the file", ctx)
    return {
        "demo": "demo" in given and ctx.params["demo"],
        "name": ctx.params["name"] if "name" in given else None,
    }


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """A multi-node cluster on this machine, in network namespaces of its own."""


@main.command()
@name_option
@click.option("--nodes", default=3, show_default=True, help="Number of nodes, 1 to 100.")
@click.option(
    "--hollow", default=0, metavar="N", help="Further nodes whose containers are only said to run."
)
@click.option("--zone", multiple=True, metavar="NODE=ZONE", help="A node's zone; repeatable.")
@click.option(
    "--proxy",
    type=click.Choice(list(BACKENDS)),
    default="iptables",
    show_default=True,
    help="Backend that balances Services.",
)
@click.option(
    "--overlay",
    type=click.Choice(["routes", "vxlan"]),
    default="routes",
    show_default=True,
    help="How nodes reach each other's Pods.",
)
@click.option(
    "--runtime",
    type=click.Choice(RUNTIMES),
    default=BUILTIN,
    show_default=True,
    help="What runs the nodes' containers.",
)
@click.option(
    "--store",
    type=click.Choice(STORES),
    default=SQLITE,
    show_default=True,
    help="Store of the API server: its own, or an etcd on the control plane's machine.",
)
@click.option(
    "--control-planes",
    type=click.Choice(CONTROL_COUNTS),
    default=CONTROL_COUNTS[0],
    show_default=True,
    help="Number of API servers; several share an etcd with a member beside each.",
)
@click.option(
    "--event-ttl", default="", metavar="TIME", help="How long Events are kept.  [default: 1h0m0s]"
)
@click.option("--pod-cidr", help=f"Range of the Pods' addresses.  [default: {POD_CIDRS[0]}]")
@click.option("--service-cidr", help=f"Range of the ClusterIPs.  [default: {SERVICE_CIDRS[0]}]")
@click.option(
    "--ip-family",
    type=click.Choice(["ipv4", "ipv6", "dual"]),
    default="ipv4",
    show_default=True,
    help=f"IPv6 has Pods in {POD_CIDRS[1]}, Services in {SERVICE_CIDRS[1]}.",
)
@click.option(
    "--dual-stack",
    is_flag=True,
    help="Same as --ip-family dual.",
)
@click.option(
    "--dns-upstream",
    multiple=True,
    metavar="ADDRESS[:PORT]",
    help="A resolver for names outside the cluster, which the lab can reach; repeatable.",
)
@click.option(
    "--stub-domain",
    multiple=True,
    metavar="DOMAIN=ADDRESS[:PORT][,...]",
    help="Who is asked for the names below a domain; repeatable.",
)
@click.option("--demo/--no-demo", default=True, show_default=True, help="Run the demo at the end.")
@click.option(
    "-f",
    "--file",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Make the lab of a file, without the demo; only --name and --demo may stand beside it.",
)
@click.pass_context
def up(ctx: click.Context, /, *, demo: bool, file: str | None, **options: Any) -> None:
    """Start a lab, then show one Service spreading requests over its Pods."""
    from lab import commands

    if file is None:
        commands.up(demo=demo, **options)
    else:
        commands.up_by_file(file, **beside_file(ctx))


@main.command()
@name_option
def demo(name: str) -> None:
    """Draw which Pods answer requests to a ClusterIP.

    Deploys three to six replicas, unless the deployment is there already.
    """
    from lab import commands

    commands.demo(name)


@main.command()
@name_option
def down(name: str) -> None:
    """End a lab and remove all of it.

    Also removes the remains of a lab that was killed or half made.
    """
    from lab import light_commands

    light_commands.down(name)


@main.command("list")
@output_option
def list_(output: str) -> None:
    """List the labs of this machine."""
    from lab import light_commands

    light_commands.show_labs(output)


@main.command()
@name_option
@output_option
def status(name: str, output: str) -> None:
    """Show a lab's machines and the processes that run on them."""
    from lab import commands

    commands.show_status(name, output)


@main.command()
@name_option
@click.argument("port", metavar="[ADDRESS:]PORT:[NAMESPACE/]SERVICE:PORT[/udp]")
@click.option("--remove", is_flag=True, help="End it. Otherwise it ends with the lab.")
def publish(name: str, port: str, remove: bool) -> None:
    """Let this host reach a Service, by a socket of podwire's own.

    ``8080:web:80`` listens on 127.0.0.1:8080. Nothing of the host's network changes.
    """
    from lab import commands

    commands.publish(name, port, remove)


@main.command("exec", context_settings={"ignore_unknown_options": True})
@name_option
@click.argument("machine", shell_complete=complete_machine)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def exec_(name: str, machine: str, command: tuple[str, ...]) -> None:
    """Run a command on a machine.

    MACHINE is node1 …, control (control2 …), or switch, which stands for the network outside.
    """
    from lab import light_commands

    light_commands.execute(name, machine, command)


@main.command()
@name_option
@click.argument("machines", metavar="[MACHINE]...", nargs=-1, shell_complete=complete_logged)
def start(name: str, machines: tuple[str, ...]) -> None:
    """Start a stopped lab, or machines that do not run.

    MACHINE is node1 … or control; without one, the whole lab, also after a reboot, or of a running
    lab every machine that was killed. A machine has its files then, and its node's Pods are made
    anew, with their names and addresses.
    """
    from lab import commands

    commands.start(name, machines)


@main.command()
@name_option
def stop(name: str) -> None:
    """End a lab's processes, and keep its files for ``lab start``."""
    from lab import commands

    commands.stop(name)


@main.group("set")
@group_name_option
def set_() -> None:
    """Change a lab while it runs."""


@set_.command()
@name_option
@click.argument("mode", type=click.Choice(list(BACKENDS)))
def proxy(name: str, mode: str) -> None:
    """Balance Services by MODE from now on; connections continue."""
    from lab import light_commands

    light_commands.set_proxy(name, mode)


@set_.command()
@name_option
@click.argument("detail", type=click.Choice([each.value for each in CounterDetail]))
def counters(name: str, detail: str) -> None:
    """Count each Service's connections, also their packets, or nothing.

    ``podwire proxy top`` on a node shows them.
    """
    from lab import light_commands

    light_commands.set_counters(name, detail)


@set_.command()
@name_option
@click.argument("kind", type=click.Choice(STORES))
def store(name: str, kind: str) -> None:
    """Keep the objects in a store of this KIND from now on; Pods go on running.

    The API server ends, its objects are copied, and it starts again: who asks meanwhile waits. For
    labs with one control plane.
    """
    from lab import commands

    commands.set_store(name, kind)


@main.command()
@name_option
@click.option("-n", "--namespace", default="default", show_default=True, help="Ask as a Pod of it.")
@click.option(
    "-t",
    "--type",
    "kind",
    type=click.Choice(TYPES, case_sensitive=False),
    help="Of the records.  [default: addresses of a name, the name of an address]",
)
@output_option
@click.argument("asked", metavar="NAME")
def resolve(name: str, asked: str, output: str, **how: Any) -> None:
    """Ask the cluster DNS what a name means.

    NAME is completed as in a Pod: web is web.default.svc.cluster.local. A final dot prevents it.
    """
    from lab import commands

    commands.show_names(name, asked, output, **how)


@main.command()
@name_option
@click.option(
    "-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True
)
def config(name: str, output: str) -> None:
    """Print a lab as the file that makes it again, for ``lab up --file``."""
    from lab import commands

    commands.show_config(name, output)


@main.command()
def schema() -> None:
    """Print the JSON schema of a lab file, for editors and checkers."""
    from lab.file.commands import show_schema

    show_schema()


@main.command()
@name_option
def kubeconfig(name: str) -> None:
    """Print the path of the kubeconfig."""
    from lab import light_commands

    light_commands.show_kubeconfig(name)


@main.command()
@name_option
@click.argument("component", shell_complete=complete_component)
@click.option("--machine", shell_complete=complete_logged, help="Only the log of this machine.")
@click.option("-f", "--follow", is_flag=True, help="Print new lines as they come.")
@click.option("--tail", type=click.IntRange(0), help="Only this number of last lines of each log.")
def logs(name: str, component: str, **options: Any) -> None:
    """Print the log of a component.

    COMPONENT is apiserver, scheduler, controllers, dns, dns-2, agent, cni or proxy.
    """
    from lab import light_commands

    light_commands.show_logs(name, component, **options)


main.add_command(node)
main.add_command(load)
main.add_command(save)
main.add_command(restore)
main.add_command(watch)
main.add_command(link)
