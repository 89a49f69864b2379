"""Carries out those commands of ``podwire lab`` that do not ask its API server.

They import neither its client nor the types of its objects, which take a second of a processor:
scripts run ``lab exec`` again and again.
"""

import json
import os
import sysconfig
from functools import partial

import click

from lab import change
from lab import logs as reader
from lab.down import remove
from lab.report import columns
from lab.shared import absent, need_root, plain_errors, running
from lab.state import all_labs, lab_dir, locked
from lab.status import locate, look

_COUNTED = {
    "off": "calls of Services are not counted",
    "connections": "connections to Services are counted",
    "packets": "connections to Services and their packets are counted",
}


def execute(name: str, machine: str, command: tuple[str, ...]) -> None:
    """Become a command on a machine."""
    need_root()
    lab, _ = running(name)
    with plain_errors():
        argv = locate(lab, machine).enter(*command)
        # podwire itself is a command on each machine: "podwire proxy top"
        path = f"{os.environ.get('PATH', os.defpath)}:{sysconfig.get_path('scripts')}"
        os.execvpe(argv[0], argv, os.environ | {"PATH": path})  # noqa: S606  # no shell


def show_kubeconfig(name: str) -> None:
    """Print the path of the kubeconfig."""
    lab, _ = running(name)
    click.echo(lab.kubeconfig)


def show_logs(
    name: str, component: str, machine: str | None, follow: bool, tail: int | None
) -> None:
    """Print the log of a component."""
    need_root("only root may read a lab's logs")
    lab = lab_dir(name)
    if not lab.path.exists():
        raise click.ClickException(absent(name))
    with plain_errors():
        files = reader.find(lab, component, machine)
        reader.show(files, tail=tail, follow=follow, write=partial(print, end="", flush=True))


def show_labs(output: str) -> None:
    """List the labs of this machine."""
    with plain_errors():
        states = [(lab.name, look(lab)) for lab in all_labs()]
    if output == "json":
        rows = [{"name": name, "state": s.state, "nodes": s.nodes} for name, s in states]
        return click.echo(json.dumps(rows, indent=2))
    table = [(name, state.state, str(state.nodes)) for name, state in states]
    return click.echo(columns(("NAME", "STATE", "NODES"), table))


def down(name: str) -> None:
    """End a lab and remove all of it."""
    need_root()
    with plain_errors(), locked():
        found = remove(lab_dir(name))
    click.echo(f"lab {name} is down" if found else f"no lab {name}: nothing to remove")


def set_proxy(name: str, mode: str) -> None:
    """Balance Services by ``mode`` from now on; connections continue."""
    need_root()
    lab, spec = running(name)
    with plain_errors():
        change.set_proxy(lab, spec, mode)
    click.echo(f"lab {name}: Services are balanced by {mode}")


def set_counters(name: str, detail: str) -> None:
    """Count the calls of each Service from now on, or no longer; connections continue."""
    need_root()
    lab, spec = running(name)
    with plain_errors():
        change.set_counters(lab, spec, detail)
    click.echo(f"lab {name}: {_COUNTED[detail]}")
