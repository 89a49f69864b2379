"""VLANs of a bridge: what a container's port is in, and the host's gateway in one; pure.

``vlan`` is the port's native VLAN, untagged both ways; ``vlanTrunk`` names those that the container
tags itself, and without ``vlan`` its native one is 1. The bridge's default VLAN goes from the port,
unless ``preserveDefaultVlan``. The host's gateway in VLAN N of bridge B is a link B.N.
Source: the reference's bridge plugin as of 2026, plugins/main/bridge; IEEE 802.1Q.
"""

from collections.abc import Iterator

from cni_plugin.plan import ops
from cni_plugin.plan.ops import Op, Side
from cni_plugin.plan.wiring import is_gateway, no_dad, sysctl
from cni_plugin.spec.config import NetConf
from cni_plugin.spec.errors import InvalidConfigurationError, UnsupportedFieldError
from cni_plugin.spec.kernel_state import PortVlans, StateBeforeAdd
from cni_plugin.spec.names import is_link_name

_NATIVE = 1  # of a trunk, when no other is configured


def check_vlans(conf: NetConf) -> None:
    """Raise InvalidConfigurationError, or UnsupportedFieldError, for what cannot be with VLANs."""
    if not wants_vlans(conf):
        return
    if conf.wiring != "bridge":
        raise InvalidConfigurationError(f"vlan and vlanTrunk need a bridge, not mode {conf.wiring}")
    if not is_link_name(gateway_link(conf)):
        raise InvalidConfigurationError(
            f"the gateway's link would be called {gateway_link(conf)!r}, which is too long",
            "a bridge with vlan and isGateway needs a shorter name",
        )
    if conf.vlan and conf.ingress_policy != "open":
        raise UnsupportedFieldError(f"ingressPolicy {conf.ingress_policy} does not look at VLANs")


def wants_vlans(conf: NetConf) -> bool:
    """Whether the bridge has to keep VLANs apart."""
    return bool(conf.vlan or conf.vlan_trunk)


def port_vlans(conf: NetConf) -> PortVlans | None:
    """The VLANs that the container's port has to be in; None: as the bridge puts it."""
    trunk = {vlan for item in conf.vlan_trunk for vlan in item.ids()}
    if not conf.vlan and not trunk:
        return None
    native = conf.vlan or _NATIVE
    return PortVlans(
        native=native, tagged=frozenset(trunk - {native}), untagged=frozenset({native})
    )


def gateway_link(conf: NetConf) -> str:
    """The link of the host that has the gateway's addresses."""
    return f"{conf.bridge}.{conf.vlan}" if conf.vlan and is_gateway(conf) else conf.bridge


def keep_apart(conf: NetConf, state: StateBeforeAdd) -> Iterator[Op]:
    """Let the bridge filter; one that did not serves its other ports as before, in VLAN 1."""
    if wants_vlans(conf) and not state.filters_vlans:
        yield ops.FilterVlans(conf.bridge)


def ensure_gateway(conf: NetConf, state: StateBeforeAdd) -> Iterator[Op]:
    """The host's own link in the VLAN; the reference's, a veth into the bridge, does as well."""
    name, there = gateway_link(conf), state.gateway
    if name == conf.bridge or (there is not None and there.kind == "veth" and there.up):
        return
    if there is not None and there.kind not in {"vlan", "veth"}:
        raise InvalidConfigurationError(f"link {name} is there, and is in no VLAN")
    if there is None or there.kind == "vlan":
        yield ops.JoinVlans(conf.bridge, PortVlans(tagged=frozenset({conf.vlan})), own=True)
    if there is None:
        yield ops.CreateVlan(name, conf.bridge, conf.vlan)
        yield sysctl(Side.HOST, f"net/ipv6/conf/{name}/accept_ra", "0")
        yield no_dad(conf, name)
    elif not there.up:
        yield ops.SetUp(Side.HOST, name)


def join_port(conf: NetConf, host: str) -> Iterator[Op]:
    """Put the container's port into its VLANs."""
    vlans = port_vlans(conf)
    if vlans is None:
        return
    if not conf.preserve_default_vlan:
        yield ops.LeaveVlans(host)
    yield ops.JoinVlans(host, vlans)
