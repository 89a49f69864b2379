"""Declares ``podwire services`` and ``podwire endpoints``."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace

from debug.options import ground, ground_options, output_option
from debug.output import say, say_json
from lab.shared import plain_errors

_CONTEXT = {"help_option_names": ["-h", "--help"]}
_OPTIONS = (
    click.argument("service", metavar="[[NAMESPACE/]SERVICE]", required=False, default=""),
    click.option("-n", "--namespace", help="Only Services of this namespace."),
    click.option("--node", default="", help="Only of this node."),
    click.option("--wrong", is_flag=True, help="Only what differs."),
    output_option,
)


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return ground_options(command)


@click.command(context_settings=_CONTEXT)
@_options
def services(**options: Any) -> None:
    """Show what each node's kernel has of every Service, beside what the API's objects say.

    A row is one address: how many endpoints answer there, and how. Of all nodes of a lab, or of
    this machine; whoever wrote the rules, podwire or kube-proxy: nftables, iptables, eBPF maps.

    A mark ! is at what differs: between nodes, or from what the objects decide. The reasons follow
    the table. NODES "all" means that every node has the same.
    """
    _show("services", **options)


@click.command(context_settings=_CONTEXT)
@_options
def endpoints(**options: Any) -> None:
    """Show the endpoints behind each address of a Service, with their shares, as the kernel has
    them.

    A row is one endpoint, like a line of ipvsadm -Ln: its share of the new connections, the Pod,
    the node that it runs on, and the nodes that have it so. "from inside" are those for a node's
    own Pods and processes, where the traffic policy Local makes a difference.
    """
    _show("endpoints", **options)


def _show(
    what: str,
    name: str | None,
    here: bool,
    kubeconfig: Path | None,
    service: str,
    namespace: str | None,
    node: str,
    wrong: bool,
    output: str,
) -> None:
    from debug.views import show
    from debug.views.gather import gather

    with plain_errors():
        report = gather(ground(name, here, kubeconfig), node)
    kept = (one for one in report.frontends if _fits(one.service, service, namespace))
    report = replace(report, frontends=tuple(one for one in kept if one.is_wrong or not wrong))
    if output == "json":
        return say_json(report)
    lines: Iterable[str] = getattr(show, what)(report)
    return say("\n".join(lines))


def _fits(of: str, service: str, namespace: str | None) -> bool:
    """Return True if ``of``, a namespace and a name, is asked for."""
    space, _, name = of.partition("/")
    wanted_space, _, wanted = service.rpartition("/")
    wanted_space = wanted_space or namespace or ""
    return wanted_space in ("", space) and wanted in ("", name)
