"""Declares ``podwire probe``; debug/probe/commands.py carries it out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from debug.options import ground_options, output_option
from lab.options import FiniteRange

_OPTIONS = (
    click.option(
        "--for",
        "seconds",
        type=FiniteRange(0.1, 86_400),
        help="Listen for so many seconds.  [default: 10; with -f until Ctrl-C]",
    ),
    click.option("-f", "--follow", is_flag=True, help="Print what happens, as it happens."),
    click.option("--node", default="", help="Only of this node."),
    click.option(
        "--service", default="", metavar="[NAMESPACE/]NAME", help="Only what is of this Service."
    ),
    click.option(
        "--pod", default="", metavar="[NAMESPACE/]NAME", help="Only with this Pod at either end."
    ),
    click.option(
        "--by",
        type=click.Choice(["auto", "bcc", "core"]),
        default="auto",
        show_default=True,
        help="The means: bcc compiles on this machine; core is CO-RE, by libbpf; auto takes bcc "
        "where it is installed with the kernel's headers, else core.",
    ),
    click.option(
        "-n",
        "--lines",
        type=click.IntRange(1, 100_000),
        default=40,
        show_default=True,
        help="Rows of a table.",
    ),
    output_option,
)


def _probe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return ground_options(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure in the kernel, in the names of Services and Pods, for some seconds.

    Of a lab's nodes and Pods, or of this machine's. Programs on the kernel's tracepoints hear all
    network namespaces; nothing is sent, and nothing is left when the command ends.
    """


@main.command(short_help="How long TCP connects take, and how they fail.")
@_probe_options
def connects(**options: Any) -> None:
    """Show how long TCP connects take, by Service and endpoint, and how they fail.

    From the SYN to the answer: a whole second or three is a SYN that was lost, and sent again.
    ANSWERS is the endpoint that the node's conntrack has. In podwire's mode ebpf sockets call the
    endpoint itself; its Service is named beside it. Connects that still wait are shown with how
    long they have.
    """
    _run("connects", **options)


@main.command(short_help="The latency of TCP connections that end.")
@_probe_options
def sockets(**options: Any) -> None:
    """Show the latency of TCP connections that end, by Service and endpoint.

    TRIP is the round trip as the kernel smoothed it, from a segment to its acknowledgment; OPEN is
    how long the connection was open, of those that began meanwhile. A connection between two Pods
    of these nodes has two ends: a client's, and a server's.
    """
    _run("sockets", **options)


@main.command(short_help="The TCP segments that are sent again.")
@_probe_options
def retransmits(**options: Any) -> None:
    """Show the TCP segments that are sent again: by whom, to whom, of which Service.

    SYN: the first packet, or its answer, was lost. SYN-ACK: a server's answer was. data: anything
    later, or the end of a connection.
    """
    _run("retransmits", **options)


@main.command(short_help="The packets that the kernel drops, and why.")
@_probe_options
def drops(**options: Any) -> None:
    """Count the packets that the kernel drops: by its function, its reason, and for whom they were.

    Not every one is a fault: to a closed port, or late duplicates, are drops too. podwire drops
    shows what nodes have counted so far, podwire trace --live --dropped the packets.
    """
    _run("drops", **options)


def _run(probe: str, name: str | None, here: bool, kubeconfig: Path | None, **options: Any) -> None:
    from debug.probe.commands import How, run

    run(probe, (name, here, kubeconfig), How(**options))
