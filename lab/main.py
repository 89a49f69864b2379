"""``podwire``: one command, a subcommand for each part, imported only when it is asked for."""

import gc
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from control.client.authorities import no_system_authorities
from control.version import PODWIRE

COMMANDS = {
    "lab": "lab.cli:main",
    "kubectl": "lab.kubectl:main",
    "install": "control.install.cli:install",
    "join": "control.install.cli:join",
    "token": "control.install.token_cli:token",
    "certs": "control.install.certs_cli:certs",
    "upgrade": "control.install.cli:upgrade",
    "reset": "control.install.cli:reset",
    "image": "control.runtime.images.cli:main",
    "apiserver": "control.server.cli:main",
    "store": "control.store.cli:main",
    "scheduler": "control.scheduler.cli:main",
    "controllers": "control.controllers.cli:main",
    "balancer": "control.balancer.cli:main",
    "cloud": "control.cloud.cli:main",
    "agent": "control.agent.cli:main",
    "hollow": "control.agent.hollow.cli:main",
    "cni": "cni_plugin.admin.cli:main",
    "proxy": "proxy.cli:main",
    "policy": "lab.policy_cli:main",
    "map": "debug.map.cli:main",
    "web": "debug.web.cli:main",
    "dns": "control.dns.cli:main",
    "explain": "debug.explain.cli:main",
    "trace": "debug.trace.cli:main",
    "capture": "debug.capture.cli:main",
    "speaker": "control.cloud.speaker.cli:main",
    "doctor": "debug.doctor.cli:main",
    "drift": "debug.drift.cli:main",
    "snapshot": "debug.snapshot_cli:main",
    "services": "debug.views.cli:services",
    "endpoints": "debug.views.cli:endpoints",
    "flows": "debug.flows.cli:main",
    "top": "debug.top.cli:main",
    "break": "debug.faults.cli:break_",
    "heal": "debug.faults.cli:heal",
    "lesson": "debug.faults.cli:lesson",
    "drops": "debug.drops.cli:main",
    "probe": "debug.probe.cli:main",
    "setup": "lab.setup:main",
    "completion": "lab.completion:main",
}
SUMMARIES = {
    "lab": "A cluster on this machine: up, down, status, watch, exec, save, logs.",
    "kubectl": "Run kubectl against a lab.",
    "install": "Make this machine a control plane or a node, with systemd.",
    "join": "Make this machine a node of a cluster.",
    "token": "The tokens by which nodes join: create, list, delete.",
    "certs": "The certificates of this machine: their ends, and their renewal.",
    "upgrade": "Restart what is installed here with this version.",
    "reset": "Remove what install and join have made here.",
    "image": "The images that nodes run: pull, build, import, list, remove.",
    "apiserver": "The Kubernetes API, over the embedded store.",
    "store": "Copy, keep, defragment, upgrade or encrypt the API server's store.",
    "scheduler": "Give Pods their nodes.",
    "controllers": "Deployments, ReplicaSets, DaemonSets, EndpointSlices and the rest.",
    "balancer": "Lead a node's connections to the API servers that are ready.",
    "cloud": "Give Services of type LoadBalancer their addresses.",
    "agent": "Run the Pods of a node.",
    "hollow": "Run nodes whose containers are only said to run.",
    "cni": "The CNI plugin's server and tools.",
    "proxy": "Balance Services on a node.",
    "policy": "What NetworkPolicies admit and dropped.",
    "map": "Draw the network: topology, a Service's endpoints, node to node.",
    "web": "Show the map in a browser, live.",
    "dns": "Answer the names of Services and Pods.",
    "explain": "What the kernels would do with a packet: each rule, each branch.",
    "capture": "Show the packets of a Pod, or write them for Wireshark.",
    "trace": "Send a packet, and show what the kernels on its way did with it.",
    "speaker": "Announce a node's load balancers in its network.",
    "doctor": "What is wrong with a cluster's network, why, and what to do.",
    "drift": "What is installed and should not be, and what should be and is not.",
    "snapshot": "Keep what doctor and drift read, as one file.",
    "services": "What each node's kernel has of every Service, and what differs.",
    "drops": "Where packets end: every counter of drops that kernels have.",
    "probe": "Measure in the kernel: connects by Service, retransmits, drops by function.",
    "top": "Which Services are called most, and which endpoints answer, live.",
    "flows": "The connections that kernels track, in the names of Services and Pods.",
    "endpoints": "The endpoints that kernels send Services' connections to.",
    "break": "Break a lab's network on purpose, for a time.",
    "heal": "Take back what break did.",
    "lesson": "Find out what is broken: symptom, hints, cause.",
    "setup": "Install the Debian packages that podwire runs with.",
    "completion": "Teach bash, zsh or fish to complete podwire's words.",
}
DAEMONS = (
    *("apiserver", "scheduler", "controllers", "cloud"),
    *("agent", "hollow", "cni", "proxy", "speaker", "dns"),
)
# What a part imports after its command line was read.
_LATER = {
    "proxy": ("proxy.node", "proxy.backends.ebpf.backend", "proxy.backends.iptables.backend"),
}
_ON_CONTAINERD = (
    *("control.runtime.images.serve", "control.runtime.images.preload"),
    "control.runtime.cri.runtime",
)


def load(name: str) -> click.Command:
    """The command of a part; importing it imports what the part needs for its command line."""
    module, _, attribute = COMMANDS[name].partition(":")
    gc.disable()  # what imports make stays: to look for garbage in it is a fifth of their time
    try:
        with no_system_authorities():
            command = getattr(importlib.import_module(module), attribute)
    finally:
        gc.freeze()
        gc.enable()
    assert isinstance(command, click.Command)  # noqa: S101  # the table is ours
    return command


def load_whole(name: str) -> None:
    """Import all that a part needs, for processes that are forked or may write no bytecode."""
    load(name)
    with no_system_authorities():
        for module in _LATER.get(name, ()):
            importlib.import_module(module)


def load_for_containerd() -> None:
    """Import what only nodes with containerd need: its images, and gRPC."""
    load("image")
    for module in _ON_CONTAINERD:
        importlib.import_module(module)


def run(argv: Sequence[str]) -> None:
    """Carry out one command line in this process; ends in SystemExit."""
    name, *args = argv
    load(name).main(args=args, prog_name=f"podwire {name}")


class Parts(click.Group):
    """Knows its subcommands from the table, so that --help imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        return load(cmd_name) if cmd_name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest a part for a word that is none: click knows only commands that are loaded."""
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as err:
            raise click.exceptions.NoSuchCommand(
                err.command_name, possibilities=COMMANDS, ctx=ctx
            ) from None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
        found = [name for name in COMMANDS if name.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(CompletionItem(name, help=SUMMARIES[name]) for name in found), *options]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Parts"):
            formatter.write_dl(list(SUMMARIES.items()))


@click.command(cls=Parts, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name=None, version=PODWIRE, prog_name="podwire")
def main() -> None:
    """Kubernetes networking that you can read, run and debug."""


def entry() -> None:
    """Run the command line. What the system refuses, a full disk behind a pipe say, is one line."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a locale without ✓ and █ gets ? for them
    try:
        try:
            main(prog_name="podwire")
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as err:
        _discard_output()
        sys.exit(f"podwire: {f'{err.filename}: ' if err.filename else ''}{err.strerror or err}")


def _discard_output() -> None:
    """Send standard output nowhere: the interpreter flushes it once more at its end."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    entry()
