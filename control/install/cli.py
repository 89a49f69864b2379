"""The commands ``podwire install``, ``join``, ``upgrade`` and ``reset``."""

import asyncio
import json
import socket
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from control.install import control_plane, plane
from control.install import join as joining
from control.install import reset as resetting
from control.install import upgrade as upgrading
from control.install.discovery import Discovery, check_hash, check_server
from control.install.layout import InstallError, Layout, this_program
from control.install.options import HELP, life, output_option, progress_of, reported, require_root
from control.install.settings import ControlPlaneSettings, MachineSettings, check, merged, read
from control.install.sharing import check_key, create_key
from control.jointokens import JoinToken, filter_empty
from control.runtime.cri.endpoint import EndpointError, socket_path

_LAYOUT = Layout()
_ignore = click.option(
    "--ignore-preflight-errors",
    "ignored",
    default="",
    metavar="NAME[,NAME]",
    help="Preflight errors that are shown as warnings: their names, or all.",
)
_node_ip = click.option(
    "--node-ip",
    "--apiserver-advertise-address",
    default="",
    metavar="IP[,IP6]",
    help="The address of this machine that others reach it by.",
)
_certificate_key = click.option(
    "--certificate-key",
    default="",
    metavar="HEX",
    help="The key that seals the control planes' keys. Default: a random one.",
)
_node_name = click.option("--node-name", default="", help="Default: the host name.")


@click.group(context_settings=HELP)
def install() -> None:
    """Make this machine a control plane or a node, by units of systemd."""


@install.command("control-plane", context_settings=HELP)
@_node_ip
@_node_name
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file of settings; flags win.",
)
@click.option("--pod-cidr", "--pod-network-cidr", default="", metavar="CIDR[,CIDR6]")
@click.option("--service-cidr", default="", metavar="CIDR[,CIDR6]")
@click.option("--service-dns-domain", default="", help="Default: cluster.local.")
@click.option("--proxy-mode", type=click.Choice(["iptables", "nftables", "ebpf"]))
@click.option("--overlay", type=click.Choice(["routes", "vxlan"]))
@click.option(
    "--control-plane-endpoint",
    default="",
    metavar="HOST[:PORT]",
    help="By what nodes and users reach the API. Default: the node's address.",
)
@click.option("--apiserver-bind-port", type=click.IntRange(1, 65535), help="Default: 6443.")
@click.option(
    "--apiserver-cert-extra-sans", default="", metavar="NAME[,IP]", help="Further names of the API."
)
@click.option("--event-ttl", default="", help="How long Events are kept. Default: 1h0m0s.")
@click.option(
    "--dns-upstream", multiple=True, help="Whom the DNS asks for other names; repeatable."
)
@click.option(
    "--store",
    type=click.Choice(["sqlite", "etcd"]),
    help="Where objects are: several control planes need etcd. Default: sqlite.",
)
@click.option(
    "--upload-certs",
    is_flag=True,
    help="Seal the keys for other control planes, and print the command by which they join.",
)
@_certificate_key
@click.option("--token", default="", help="The token for joining. Default: a random one.")
@click.option("--token-ttl", default="24h", show_default=True, help="Its life; 0 has no end.")
@_ignore
@output_option
def install_control_plane(
    output: str, ignored: str, token: str, token_ttl: str, **flags: Any
) -> None:
    """Install the API server, scheduler, controllers and DNS on this machine.

    Prints the command by which nodes join. A second run changes what differs, and nothing else.
    """
    with reported("install"):
        settings = _settings(flags)
        options = control_plane.Options(
            tuple(filter_empty(ignored)),
            JoinToken.parse(token) if token else None,
            life(token_ttl) / timedelta(hours=1),
            _key(flags, settings),
        )
        made = asyncio.run(
            control_plane.install(_LAYOUT, this_program(), settings, options, progress_of(output))
        )
    _show_installed(output, settings, made)


def _settings(flags: dict[str, Any]) -> ControlPlaneSettings:
    """Return the settings of a run: those of the last one, under those of --config, under flags."""
    data: dict[str, Any] = {"node": {"name": socket.gethostname()}}
    if _LAYOUT.cluster_file.exists():
        data = merged(data, read(_LAYOUT.cluster_file))
    if flags["config"] is not None:
        data = merged(data, read(flags["config"]))
    where = str(flags["config"] or "the flags")
    data = merged(data, _given(flags))
    if not (data.get("node") or {}).get("ips"):
        raise InstallError(
            "--node-ip is missing: the address of this machine that nodes reach it by; a machine "
            "may have several, and podwire does not guess"
        )
    return check(ControlPlaneSettings, data, where)


def _key(flags: dict[str, Any], settings: ControlPlaneSettings) -> str:
    """Return the certificate key of a run; empty if it uploads nothing."""
    if not flags["upload_certs"]:
        return ""
    if not settings.has_etcd:
        raise InstallError(
            "--upload-certs needs --store etcd: a cluster with its objects in SQLite has one "
            "control plane"
        )
    return check_key(flags["certificate_key"] or create_key())


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    places: dict[tuple[str, str], Any] = {
        ("node", "ips"): filter_empty(flags["node_ip"]),
        ("node", "name"): flags["node_name"],
        ("network", "podCIDRs"): filter_empty(flags["pod_cidr"]),
        ("network", "serviceCIDRs"): filter_empty(flags["service_cidr"]),
        ("network", "overlay"): flags["overlay"],
        ("proxy", "mode"): flags["proxy_mode"],
        ("dns", "domain"): flags["service_dns_domain"],
        ("dns", "upstreams"): list(flags["dns_upstream"]),
        ("api", "endpoint"): flags["control_plane_endpoint"],
        ("api", "port"): flags["apiserver_bind_port"],
        ("api", "eventTTL"): flags["event_ttl"],
        ("api", "certSANs"): filter_empty(flags["apiserver_cert_extra_sans"]),
    }
    if flags.get("store"):
        return _nested(places) | {"store": flags["store"]}
    return _nested(places)


def _nested(places: dict[tuple[str, str], Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for (part, field), value in places.items():
        if value:
            made.setdefault(part, {})[field] = value
    return made


def _show_installed(
    output: str, settings: ControlPlaneSettings, made: control_plane.Joining
) -> None:
    if output == "json":
        shown = {
            "server": made.server,
            "token": made.token,
            "caCertHash": made.authority_hash,
            "joinCommand": made.command,
            "kubeconfig": str(_LAYOUT.admin),
        }
        if made.key:
            shown |= {"certificateKey": made.key, "controlPlaneJoinCommand": made.plane_command}
        return click.echo(json.dumps(shown, indent=2))
    click.echo(f"the control plane of {settings.url} runs; to use it:")
    click.echo(f"  export KUBECONFIG={_LAYOUT.admin}")
    click.echo("to add a node, run there, with the node's own address:")
    click.echo(f"  {made.command} --node-ip IP")
    if made.key:
        click.echo("to add a control plane, within two hours, with its own address:")
        click.echo(f"  {made.plane_command} --node-ip IP")
    return None


@click.command(context_settings=HELP)
@click.argument("server", metavar="HOST:PORT")
@click.option("--token", default="", help="The cluster's token, ID.SECRET.")
@click.option(
    "--tls-bootstrap-token", default="", help="As kubeadm's: --token for both steps.", hidden=True
)
@click.option(
    "--discovery-token-ca-cert-hash",
    "hashes",
    multiple=True,
    metavar="sha256:HEX",
    help="The hash of the cluster's authority; repeatable.",
)
@click.option(
    "--discovery-token-unsafe-skip-ca-verification",
    "unsafe",
    is_flag=True,
    help="Trust whoever knows the token, without a hash.",
)
@_node_ip
@_node_name
@click.option(
    "--container-runtime-endpoint",
    "--cri-socket",
    "runtime",
    default="",
    metavar="unix:///PATH",
    help="The socket of a CRI runtime. Default: none; the agent runs containers itself.",
)
@click.option("--node-labels", default="", metavar="KEY=VALUE,…")
@click.option("--register-with-taints", default="", metavar="KEY[=VALUE]:EFFECT,…")
@click.option(
    "--control-plane", is_flag=True, help="Make it another control plane instead of a node."
)
@click.option(
    "--certificate-key",
    default="",
    metavar="HEX",
    help="The key by which install --upload-certs sealed the control planes' keys.",
)
@_ignore
@output_option
def join(server: str, output: str, **flags: Any) -> None:
    """Make this machine a node of the cluster at HOST:PORT, or another control plane.

    A second run changes what differs, and needs no valid token. A control plane becomes a node,
    too, by a second command without --control-plane.
    """
    if flags["control_plane"]:
        return _join_control_plane(server, output, flags)
    with reported("join"):
        wanted = _discovery(server, flags)
        options = _node_options(flags)
        made = asyncio.run(
            joining.join(_LAYOUT, this_program(), wanted, options, progress_of(output))
        )
    if output == "json":
        shown = {"node": made.node.name, "server": made.server, "addresses": list(made.node.ips)}
        return click.echo(json.dumps(shown, indent=2))
    where = f"https://{server}" if made.servers else made.server
    return click.echo(f"{made.node.name} has joined {where}; see there: kubectl get nodes")


def _join_control_plane(server: str, output: str, flags: dict[str, Any]) -> None:
    with reported("join"):
        wanted = _discovery(server, flags)
        options = plane.PlaneOptions(
            _machine(flags),
            check_key(flags["certificate_key"]),
            ignored=tuple(filter_empty(flags["ignored"])),
        )
        made = asyncio.run(
            plane.join(_LAYOUT, this_program(), wanted, options, progress_of(output))
        )
    if output == "json":
        shown = {"controlPlane": made.node.name, "server": made.own_url}
        return click.echo(json.dumps(shown | {"kubeconfig": str(_LAYOUT.admin)}, indent=2))
    return click.echo(f"the control plane of {made.own_url} runs, beside those of {server}")


install.add_command(join, "node")  # by the name of what it makes


def _discovery(server: str, flags: dict[str, Any]) -> Discovery:
    token = flags["token"] or flags["tls_bootstrap_token"]
    if not token:
        raise InstallError(
            "--token is missing: `podwire token create --print-join-command` prints one"
        )
    hashes = tuple(map(check_hash, flags["hashes"]))
    if not hashes and not flags["unsafe"]:
        raise InstallError(
            "--discovery-token-ca-cert-hash is missing: without it, whoever knows the token can "
            "pose as the cluster; --discovery-token-unsafe-skip-ca-verification accepts that"
        )
    return Discovery(check_server(server), JoinToken.parse(token), hashes)


def _machine(flags: dict[str, Any]) -> MachineSettings:
    ips = filter_empty(flags["node_ip"])
    if not ips:
        raise InstallError("--node-ip is missing: the address of this machine that other nodes use")
    name = flags["node_name"] or socket.gethostname()
    return check(MachineSettings, {"name": name, "ips": ips}, "--node-ip or --node-name")


def _node_options(flags: dict[str, Any]) -> joining.NodeOptions:
    machine = _machine(flags)
    try:
        runtime = f"unix://{socket_path(flags['runtime'])}" if flags["runtime"] else ""
    except EndpointError as err:
        raise InstallError(f"--container-runtime-endpoint: {err}") from err
    return joining.NodeOptions(
        machine,
        runtime,
        flags["node_labels"],
        flags["register_with_taints"],
        tuple(filter_empty(flags["ignored"])),
    )


@click.command(context_settings=HELP)
@output_option
def upgrade(output: str) -> None:
    """Restart what is installed here with this version of podwire, one unit after the other.

    Certificates of the control plane that end within 90 days are renewed.
    """
    with reported("upgrade"):
        require_root()
        done = asyncio.run(upgrading.upgrade(_LAYOUT, this_program(), progress_of(output)))
    if output == "json":
        return click.echo(json.dumps({"restarted": list(done)}, indent=2))
    return click.echo(f"restarted {len(done)} units with {sys.executable}")


@click.command(context_settings=HELP)
@click.option(
    "-f",
    "--force",
    is_flag=True,
    help="Do not ask; without it, and with nobody to answer, nothing is removed.",
)
@output_option
def reset(force: bool, output: str) -> None:
    """Remove everything that install and join have made on this machine."""
    with reported("reset"):
        require_root()
        if not force:
            question = "remove all of podwire's units, Pods, rules and files?"
            click.confirm(question, abort=True, err=True)
        done = resetting.reset(_LAYOUT, this_program(), progress_of(output))
    if output == "json":
        return click.echo(json.dumps({"removed": list(done)}, indent=2))
    return click.echo("removed: " + (", ".join(done) or "nothing, for nothing was there"))
