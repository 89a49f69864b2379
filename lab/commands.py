"""Carries out the commands of ``podwire lab`` that make a lab, or ask its API server.

lab/cli.py declares them; the others are in lab/light_commands.py.
"""

import dataclasses
import json
import os
import shutil
from typing import Any

import click
from rich.console import Console

from lab import addons, halt, join, needs, resume, store_change
from lab import demo as demonstration
from lab import dns as cluster_dns
from lab import publish as publishing
from lab.file import commands as lab_file
from lab.goals import Published
from lab.link import cable
from lab.members import zoned
from lab.nodes import NodeReport, NodesUnknownError, ask
from lab.published import forget, remember
from lab.readiness import wait_ready
from lab.report import Steps, columns
from lab.resolve import NoSuchNameError, resolve
from lab.shared import absent, need_root, plain_errors, running, staying_up
from lab.spec import LabSpec, make_spec
from lab.state import LabDir, lab_dir, locked
from lab.status import LabStatus, killed_machines, locate, look, named, published
from lab.status_table import status_table
from lab.up import make
from proxy.backends.base import show_command

_COLORS = {"up": "green", "degraded": "yellow", "stopped": "yellow"}


def up(*, demo: bool, zone: tuple[str, ...], **options: Any) -> None:
    """Start a lab, then show one Service spreading requests over its Pods."""
    need_root()
    with plain_errors():
        _up(zoned(make_spec(**options), zone), demo=demo)


def up_by_file(path: str, *, name: str | None, demo: bool) -> None:
    """Start the lab that a file describes."""
    need_root()
    with plain_errors():
        wanted = lab_file.load(path, name)
        _up(wanted.spec, wanted, demo=demo)


def _up(spec: LabSpec, wanted: lab_file.Wanted | None = None, *, demo: bool) -> None:
    console = Console()
    needs.require()
    cluster_dns.check_resolvers(spec)
    steps = Steps(console)
    if wanted:
        lab_file.import_images(wanted, steps)
    lab = make(spec, steps)
    with staying_up(lab):
        if wanted:
            lab_file.record(lab, wanted)
        _get_ready(lab, spec, steps)
        if wanted:
            lab_file.finish(lab, wanted, steps)
        if demo:
            _demonstrate(console, steps, lab, spec)
    console.print(f"\nlab {spec.name} is up after {steps.elapsed:.1f} s", highlight=False)
    _suggest(console, lab, spec, deployed=demo)


def _get_ready(lab: LabDir, spec: LabSpec, steps: Steps) -> None:
    with steps.step("cluster DNS"):
        cluster_dns.install(lab.kubeconfig, spec)
        cluster_dns.wait_answers(lab, spec)
    with steps.step("nodes ready") as say:
        addons.install(lab.kubeconfig)
        wait_ready(lab, [*(node.name for node in spec.nodes), *spec.hollow_names], say)


def show_config(name: str, output: str) -> None:
    """Print a lab as the file that makes it again."""
    need_root("only root may read a lab's settings")
    lab = lab_dir(name)
    with plain_errors():
        spec = lab.spec()
        if spec is None:
            raise click.ClickException(absent(name))
        lab_file.show_config(lab, spec, output)


def demo(name: str) -> None:
    """Draw which Pods answer requests to a ClusterIP."""
    need_root()
    lab, spec = running(name)
    console = Console()
    with plain_errors():
        _demonstrate(console, Steps(console), lab, spec)


def _demonstrate(console: Console, steps: Steps, lab: LabDir, spec: LabSpec) -> None:
    source = "node1"
    with steps.step("demo") as say:
        target = demonstration.deploy(lab.kubeconfig, max(3, min(len(spec.nodes), 6)), say)
    enter = locate(lab, source).enter()
    with steps.step(f"{demonstration.REQUESTS} requests"):
        balance = demonstration.measure(lab.kubeconfig, target, enter)
    demonstration.show(console, balance, source)


def _suggest(console: Console, lab: LabDir, spec: LabSpec, *, deployed: bool) -> None:
    name = named(lab)
    podwire = os.environ.get("PODWIRE_PROGRAM", "podwire")  # bin/podwire says how it was called
    then = "scale deployment hello --replicas 5" if deployed else "apply -f examples/web.yaml"
    console.print("\nTry next:", highlight=False)
    for line in (
        f'export KUBECONFIG="$({podwire} lab kubeconfig{name})"; kubectl get pods -o wide',
        f"kubectl {then}",
        f"{podwire} lab exec{name} node1 -- {show_command(spec.proxy)}",
    ):
        console.print(f"  {line}", highlight=False, soft_wrap=True)


def show_status(name: str, output: str) -> None:
    """Show a lab's machines and the processes that run on them."""
    with plain_errors():
        state = look(lab_dir(name))
    if output == "table" and state.state == "absent":
        raise click.ClickException(absent(name))
    reports, unknown = _node_reports(lab_dir(name), state)
    if output == "json":
        return click.echo(json.dumps(_status_document(lab_dir(name), state, reports), indent=2))
    click.echo(f"lab {name}: {click.style(state.state, _COLORS.get(state.state, 'red'))}")
    click.echo(status_table(state, reports, shutil.get_terminal_size().columns))
    for machine, quality in cable.recorded(lab_dir(name)).items():
        click.echo(click.style(f"the link of {machine} {quality}", fg="red"))
    for one in published(lab_dir(name)).values():
        click.echo(f"published: {one}")
    return click.echo(f"nodes: {unknown}", err=True) if unknown else None


def publish(name: str, text: str, removes: bool) -> None:
    """Publish a port of a Service on the host, or end that."""
    need_root()
    lab, _ = running(name)
    with plain_errors(), lab.changing():
        request = publishing.parse(text)
        if not removes:
            made = publishing.publish(lab, request)
            remember(lab, made)
            return click.echo(f"lab {name}: {made}")
        was_kept = forget(lab, request)
        try:
            gone = publishing.remove(lab, request)
        except publishing.PublishError:
            if not was_kept:
                raise
            gone = Published(request.address, request.port, request.goal)
    return click.echo(f"lab {name}: no longer {gone}")


def _node_reports(lab: LabDir, state: LabStatus) -> tuple[dict[str, NodeReport], str]:
    """The API server's reports of the nodes, or none, and why."""
    try:
        return (ask(lab.kubeconfig) if state.state in ("up", "degraded") else {}), ""
    except NodesUnknownError as err:
        return {}, str(err)


def _status_document(
    lab: LabDir, state: LabStatus, reports: dict[str, NodeReport]
) -> dict[str, Any]:
    document = dataclasses.asdict(state)
    for machine in document["machines"]:
        report = reports.get(machine["name"])
        machine["ready"] = None if report is None else report.ready
        machine["pods"] = None if report is None else report.pods
    document["links"] = {m: dataclasses.asdict(q) for m, q in cable.recorded(lab).items()}
    document["published"] = [dataclasses.asdict(one) for one in published(lab).values()]
    return document


def start(name: str, wanted: tuple[str, ...]) -> None:
    """Start a lab that does not run, or machines that do not; without a name, killed ones."""
    need_root()
    lab = lab_dir(name)
    keeper, spec = lab.keeper(), lab.spec()
    if spec is not None and keeper is not None and not keeper.alive:
        return _resume(lab, wanted)
    lab, _ = running(name)
    with plain_errors(), lab.changing():
        spec = lab.spec()
        machines = wanted or killed_machines(lab)
        for machine in machines:
            assert spec is not None  # noqa: S101  # it runs
            spec = join.start_again(lab, spec, machine)
            click.echo(f"lab {name}: {machine} runs again")
    return None if machines else click.echo(f"lab {name}: every machine runs")


def _resume(lab: LabDir, wanted: tuple[str, ...]) -> None:
    if wanted:
        raise click.ClickException(
            f"lab {lab.name} does not run: start all of it with: podwire lab start{named(lab)}"
        )
    steps = Steps(Console())
    with plain_errors(), locked(), lab.changing():
        needs.require()
        spec = lab.spec()
        assert spec is not None  # noqa: S101  # the caller has looked
        with staying_up(lab):
            resume.resume(lab, spec, steps)
    click.echo(f"lab {lab.name} is up after {steps.elapsed:.1f} s")


def stop(name: str) -> None:
    """End a lab's processes, and keep its files."""
    need_root()
    lab, _ = running(name)
    with plain_errors(), lab.changing():
        halt.stop_lab(lab, running(name)[1])
    click.echo(f"lab {name} is stopped; start it with: podwire lab start{named(lab)}")


def set_store(name: str, kind: str) -> None:
    """Move a running lab's objects into a store of another kind."""
    need_root()
    lab, _ = running(name)
    steps = Steps(Console())
    with plain_errors(), lab.changing():
        store_change.set_store(lab, running(name)[1], kind, steps)
    click.echo(f"lab {name} keeps its objects in {kind}")


def show_names(name: str, asked: str, output: str, **how: Any) -> None:
    """Print what a name means in a lab."""
    need_root()
    lab, spec = running(name)
    with plain_errors():
        try:
            found = resolve(lab, spec, asked, **how)
        except NoSuchNameError as err:
            raise click.ClickException(str(err)) from err
    if output == "json":
        return click.echo(json.dumps([dataclasses.asdict(each) for each in found], indent=2))
    rows = [(each.name, str(each.ttl), each.type, each.value) for each in found]
    return click.echo(columns(("NAME", "TTL", "TYPE", "VALUE"), rows))
