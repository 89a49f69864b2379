"""``podwire proxy``: kube-proxy's flags, as far as they have a meaning here."""

import logging
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace

from control.client.authorities import no_system_authorities
from control.client.kubeconfig import ClientConfig, KubeconfigError, load
from proxy.backends.base import BACKENDS
from proxy.backends.ebpf.options import ALGORITHMS
from proxy.config import ProxyConfig, from_flags
from proxy.config_file import document, read
from proxy.counters.top import top
from proxy.early import EarlyStart, begin
from proxy.linux.memory import expect_load
from proxy.model.errors import BadFlagError, ProxyError
from proxy.model.settings import CounterDetail

_LOCAL_MODES = ("ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix")


def _take_file(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Use a file's settings as the defaults, so that flags win."""
    if path is not None:
        try:
            context.default_map = read(path)
        except BadFlagError as err:
            raise click.UsageError(str(err), context) from err


@click.group("proxy", invoke_without_command=True)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_take_file,
    help="A KubeProxyConfiguration file. Flags win over it.",
)
@click.option("--kubeconfig", help="The kubeconfig file of the API server.")
@click.option("--node-name", "--hostname-override", "node_name", help="Default: the host name.")
@click.option("--proxy-mode", type=click.Choice(sorted(BACKENDS)), default="iptables")
@click.option("--cluster-cidr", default="", help="The Pods' ranges: CIDR[,CIDR6].")
@click.option(
    "--service-cidr",
    default="",
    help="The ClusterIPs' ranges, where the API server has no ServiceCIDRs: CIDR[,CIDR6].",
)
@click.option(
    "--detect-local-mode",
    type=click.Choice(_LOCAL_MODES),
    default=_LOCAL_MODES[0],
    help="How to detect packets of this cluster's Pods.",
)
@click.option("--pod-bridge-interface", default="", help="The bridge of Pods, for BridgeInterface.")
@click.option(
    "--pod-interface-name-prefix",
    default="",
    help="The prefix of Pods' interfaces, for InterfaceNamePrefix.",
)
@click.option("--masquerade-all", is_flag=True, help="Masquerade all ClusterIP traffic.")
@click.option("--iptables-masquerade-bit", type=click.IntRange(0, 31), default=14)
@click.option(
    "--iptables-localhost-nodeports/--no-iptables-localhost-nodeports",
    "localhost_node_ports",
    default=True,
    help="Serve NodePorts at 127.0.0.1 too.",
)
@click.option(
    "--iptables-flavor",
    type=click.Choice(["auto", "legacy", "nft"]),
    default="auto",
    help="The kernel interface behind iptables. auto: the one that this node uses.",
)
@click.option("--cgroup-root", default="", help="For ebpf: the cgroup of the node's processes.")
@click.option(
    "--ebpf-algorithm",
    type=click.Choice(ALGORITHMS),
    default=ALGORITHMS[0],
    help="For ebpf: how packets choose their endpoint. maglev: by consistent hashing.",
)
@click.option(
    "--ebpf-direct-return",
    is_flag=True,
    help="For ebpf: an endpoint's node answers clients of load balancers and externalIPs itself.",
)
@click.option(
    "--nodeport-addresses",
    default="",
    help="CIDRs or words: primary (the Node's own addresses), localhost, all. Default: all.",
)
@click.option("--service-proxy-name", default="", help="Serve Services with this label value only.")
@click.option(
    "--min-sync-period",
    "--iptables-min-sync-period",
    "min_sync_period",
    default="10ms",
    help="The least time between two syncs.",
)
@click.option(
    "--conntrack-max-per-core",
    type=click.IntRange(0),
    default=32768,
    help="The least conntrack maximum for each CPU core. 0: keep the kernel's.",
)
@click.option(
    "--conntrack-min", type=click.IntRange(0), default=131072, help="The least conntrack maximum."
)
@click.option("--conntrack-tcp-timeout-established", default="24h", help="0s: keep the kernel's.")
@click.option("--conntrack-tcp-timeout-close-wait", default="1h", help="0s: keep the kernel's.")
@click.option("--conntrack-udp-timeout", default="0s", help="0s: keep the kernel's.")
@click.option("--conntrack-udp-timeout-stream", default="0s", help="0s: keep the kernel's.")
@click.option("--conntrack-tcp-be-liberal", is_flag=True, help="Accept out-of-window TCP segments.")
@click.option("--healthz-bind-address", default="127.0.0.1:10256")
@click.option("--metrics-bind-address", default="127.0.0.1:10249")
@click.option(
    "--service-counters",
    type=click.Choice([detail.value for detail in CounterDetail]),
    default=CounterDetail.OFF.value,
    help="The counters of each Service, for /metrics and `podwire proxy top`.",
)
@click.option(
    "--keep-other-proxies",
    is_flag=True,
    help="Report kube-proxy's rules instead of removing them at the start.",
)
@click.option(
    "--network-policy/--no-network-policy",
    default=True,
    help="Enforce NetworkPolicies on this node's Pods.",
)
@click.option("--cleanup", is_flag=True, help="Remove every rule of the proxy, then end.")
@click.option("--verbose", "-v", count=True, help="Log every sync.")
@click.pass_context
def main(context: click.Context, /, **flags: Any) -> None:
    """Balance the cluster's Services on this node, as kube-proxy does."""
    if context.invoked_subcommand:
        return
    _log_to_stderr(logging.DEBUG if flags["verbose"] else logging.INFO)
    expect_load()
    try:
        config = replace(from_flags(flags, socket.gethostname()), document=document(flags))
        if os.geteuid() != 0:
            raise BadFlagError("run as root: only root may read and write the node's packet filter")
        if flags["cleanup"]:
            _clean_up(config)
        else:
            _serve(config)
    except (BadFlagError, KubeconfigError) as err:
        raise click.UsageError(str(err)) from err
    except ProxyError as err:
        sys.exit(f"podwire proxy: {err}")


main.add_command(top)


def _serve(config: ProxyConfig) -> None:
    """Serve until SIGTERM or SIGINT.

    The kernel checks a backend's programs, 0.1 s, while Python imports aiohttp and what needs it.
    """
    access, early = load(config.kubeconfig), begin(config)
    _imported()(config, access, early)


def _imported() -> Callable[[ProxyConfig, ClientConfig, EarlyStart], None]:
    """Import the rest, and return the function that serves."""
    with no_system_authorities():
        from proxy.node import run
    return run


def _clean_up(config: ProxyConfig) -> None:
    """Remove all that any proxy has left."""
    from proxy.cleanup import clean_up

    clean_up(config)


def _log_to_stderr(level: int) -> None:
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
