"""``podwire lab``: a cluster on this machine."""

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import click
from rich.console import Console

from control.client import ClientError, KubeconfigError
from lab import change
from lab import demo as demonstration
from lab import logs as reader
from lab.down import RemovalFailed, remove
from lab.keeper import LaunchFailed
from lab.report import Steps, columns, said
from lab.spec import POD_CIDRS, SERVICE_CIDRS, InvalidSpec, LabSpec, check_name, make_spec
from lab.state import LabDir, all_labs, lab_dir, locked
from lab.status import Status, locate, look
from lab.up import LabExists, NotMade, NotReady, make, wait_ready
from proxy.backends.base import BACKENDS

_EXPECTED = (
    LabExists,
    LaunchFailed,
    NotMade,
    NotReady,
    RemovalFailed,
    ClientError,
    KubeconfigError,
)
# What shows the rules of a ClusterIP on a node.
_RULES = {
    "iptables": "iptables-save -t nat",
    "nftables": "nft list table ip podwire-proxy",
    "ebpf": "nft list table ip podwire-proxy",
}

output_option = click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True
)


class BadOption(click.ClickException):
    """An option's value is none that a lab can have."""

    exit_code = 2


@contextmanager
def plain_errors() -> Iterator[None]:
    """Say what went wrong in one line; end with code 2 for a bad option, else with 1."""
    try:
        yield
    except InvalidSpec as err:
        raise BadOption(str(err)) from err
    except BrokenPipeError:  # the reader has seen enough: click ends quietly
        raise
    except OSError as err:
        raise click.ClickException(said(err)) from err
    except _EXPECTED as err:
        raise click.ClickException(str(err)) from err


def _named(_: click.Context, __: click.Parameter, name: str) -> str:
    with plain_errors():
        return check_name(name)


name_option = click.option(
    "--name", default="lab", show_default=True, callback=_named, help="Which lab."
)


def running(name: str) -> tuple[LabDir, LabSpec]:
    """The lab with this name, which must be up."""
    lab = lab_dir(name)
    keeper, spec = lab.keeper(), lab.spec()
    if keeper is None or spec is None or not keeper.alive:
        raise click.ClickException(
            f"no lab {name} is up; start it with: podwire lab up --name {name}"
        )
    return lab, spec


def _need_root(why: str = "a lab is made of namespaces, which takes root") -> None:
    if os.geteuid() != 0:
        raise click.ClickException(f"{why}: use sudo")


def _absent(name: str) -> str:
    return f"no lab {name}; start it with: podwire lab up --name {name}"


@contextmanager
def _staying_up(lab: LabDir) -> Iterator[None]:
    """Once a lab runs, Ctrl-C ends the command, not the lab: say so."""
    try:
        yield
    except KeyboardInterrupt:
        text = f"interrupted; lab {lab.name} stays up; end it with: podwire lab down --name "
        raise click.ClickException(f"{text}{lab.name}") from None


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """A multi-node cluster on this machine, in network namespaces of its own."""


@main.command()
@name_option
@click.option("--nodes", default=3, show_default=True, help="How many nodes, 1 to 100.")
@click.option(
    "--proxy",
    type=click.Choice(list(BACKENDS)),
    default="iptables",
    show_default=True,
    help="What balances Services.",
)
@click.option(
    "--overlay",
    type=click.Choice(["routes", "vxlan"]),
    default="routes",
    show_default=True,
    help="How nodes reach each other's Pods.",
)
@click.option(
    "--store",
    type=click.Choice(["sqlite"]),
    default="sqlite",
    show_default=True,
    help="Where the API server keeps objects.",
)
@click.option("--pod-cidr", help=f"Range of the Pods' addresses.  [default: {POD_CIDRS[0]}]")
@click.option("--service-cidr", help=f"Range of the ClusterIPs.  [default: {SERVICE_CIDRS[0]}]")
@click.option(
    "--dual-stack",
    is_flag=True,
    help=f"IPv6 too: Pods in {POD_CIDRS[1]}, Services in {SERVICE_CIDRS[1]}.",
)
@click.option("--demo/--no-demo", default=True, show_default=True, help="End with the demo.")
def up(demo: bool, **options: Any) -> None:
    """Start a lab, then show a ClusterIP balancing."""
    _need_root()
    console = Console()
    with plain_errors():
        spec = make_spec(**options)
        steps = Steps(console)
        lab = make(spec, steps)
        with _staying_up(lab):
            with steps.step("nodes ready") as say:
                wait_ready(lab.kubeconfig, spec, say)
            if demo:
                _demonstrate(console, steps, lab, spec)
        console.print(f"\nlab {spec.name} is up after {steps.elapsed:.1f} s", highlight=False)
        _suggest(console, lab, spec, deployed=demo)


@main.command()
@name_option
def demo(name: str) -> None:
    """Draw who answers requests to a ClusterIP.

    Deploys the replicas that answer, three to six of them, unless they are there already.
    """
    _need_root()
    lab, spec = running(name)
    console = Console()
    with plain_errors():
        _demonstrate(console, Steps(console), lab, spec)


def _demonstrate(console: Console, steps: Steps, lab: LabDir, spec: LabSpec) -> None:
    source = "node1"
    with steps.step("demo") as say:
        address = demonstration.deploy(lab.kubeconfig, max(3, min(spec.nodes, 6)), say)
    enter = locate(lab, source).enter()
    with steps.step(f"{demonstration.REQUESTS} requests"):
        balance = demonstration.measure(lab.kubeconfig, address, enter)
    demonstration.show(console, balance, source)


def _suggest(console: Console, lab: LabDir, spec: LabSpec, *, deployed: bool) -> None:
    name = "" if lab.name == "lab" else f" --name {lab.name}"
    then = "scale deployment hello --replicas 5" if deployed else "apply -f examples/web.yaml"
    console.print("\nTry next:", highlight=False)
    for line in (
        f'export KUBECONFIG="$(bin/podwire lab kubeconfig{name})"; kubectl get pods -o wide',
        f"kubectl {then}",
        f"bin/podwire lab exec{name} node1 -- {_RULES[spec.proxy]}",
    ):
        console.print(f"  {line}", highlight=False, soft_wrap=True)


@main.command()
@name_option
def down(name: str) -> None:
    """End a lab and remove all of it.

    Also what is left of one that was killed or half made.
    """
    _need_root()
    with plain_errors(), locked():
        found = remove(lab_dir(name))
    click.echo(f"lab {name} is down" if found else f"no lab {name}: nothing to remove")


@main.command("list")
@output_option
def list_(output: str) -> None:
    """List the labs of this machine."""
    with plain_errors():
        states = [(lab.name, look(lab)) for lab in all_labs()]
    if output == "json":
        rows = [{"name": name, "state": s.state, "nodes": s.nodes} for name, s in states]
        return click.echo(json.dumps(rows, indent=2))
    table = [(name, state.state, str(state.nodes)) for name, state in states]
    return click.echo(columns(("NAME", "STATE", "NODES"), table))


@main.command()
@name_option
@output_option
def status(name: str, output: str) -> None:
    """Show a lab's machines and the processes that run on them."""
    with plain_errors():
        state = look(lab_dir(name))
    if output == "json":
        return click.echo(json.dumps(dataclasses.asdict(state), indent=2))
    return _show_status(name, state)


def _show_status(name: str, state: Status) -> None:
    if state.state == "absent":
        return click.echo(_absent(name))
    click.echo(f"lab {name}: {state.state}")
    rows = []
    for machine in state.machines:
        first = (machine.name, ", ".join(machine.addresses))
        for component in machine.components:
            up_for = "" if component.seconds is None else f"{component.seconds:.0f} s"
            rows.append((*first, component.name, str(component.pid or "down"), up_for))
            first = ("", "")
    return click.echo(columns(("MACHINE", "ADDRESSES", "COMPONENT", "PID", "UP"), rows))


@main.command("exec", context_settings={"ignore_unknown_options": True})
@name_option
@click.argument("machine")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def exec_(name: str, machine: str, command: tuple[str, ...]) -> None:
    """Run a command on a machine.

    MACHINE is node1 …, control, or switch, which is the world outside.
    """
    _need_root()
    lab, _ = running(name)
    with plain_errors():
        argv = locate(lab, machine).enter(*command)
        os.execvp(argv[0], argv)  # noqa: S606  # no shell: the user's own words, one by one


@main.group("set")
def set_() -> None:
    """Change a lab while it runs."""


@set_.command()
@name_option
@click.argument("mode", type=click.Choice(list(BACKENDS)))
def proxy(name: str, mode: str) -> None:
    """Have MODE balance Services from now on; connections go on."""
    _need_root()
    lab, spec = running(name)
    with plain_errors():
        change.set_proxy(lab, spec, mode)
    click.echo(f"lab {name}: Services are balanced by {mode}")


@main.command()
@name_option
def kubeconfig(name: str) -> None:
    """Print the path of the kubeconfig."""
    lab, _ = running(name)
    click.echo(lab.kubeconfig)


@main.command()
@name_option
@click.argument("component")
@click.option("--machine", help="Of this machine alone.")
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come.")
@click.option("--tail", type=click.IntRange(0), help="Only this many last lines of each.")
def logs(name: str, component: str, machine: str | None, follow: bool, tail: int | None) -> None:
    """Print the log of a component.

    COMPONENT is apiserver, scheduler, controllers, agent, cni or proxy.
    """
    _need_root("its logs are for root alone")
    lab = lab_dir(name)
    if not lab.path.exists():
        raise click.ClickException(_absent(name))
    with plain_errors():
        files = reader.find(lab, component, machine)
        reader.show(files, tail=tail, follow=follow, write=partial(print, end="", flush=True))
