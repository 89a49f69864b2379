"""The VLANs of a container's bridge port, and the host's gateway in a VLAN; pure.

``vlan`` is the port's native VLAN: its frames have no tag. ``vlanTrunk`` has the VLANs whose frames
the container tags itself; without ``vlan`` the native VLAN is then 1. The port leaves the bridge's
default VLAN, unless ``preserveDefaultVlan`` is set. The gateway in VLAN N of bridge B is link B.N.
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
    """Check the VLAN options. Raises InvalidConfigurationError, UnsupportedFieldError."""
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
    """Return true if the bridge must filter VLANs."""
    return bool(conf.vlan or conf.vlan_trunk)


def port_vlans(conf: NetConf) -> PortVlans | None:
    """The VLANs of the container's port; None if the bridge's default VLAN is to stay."""
    trunk = {vlan for item in conf.vlan_trunk for vlan in item.ids()}
    if not conf.vlan and not trunk:
        return None
    native = conf.vlan or _NATIVE
    return PortVlans(
        native=native, tagged=frozenset(trunk - {native}), untagged=frozenset({native})
    )


def gateway_link(conf: NetConf) -> str:
    """The host's link with the gateway's addresses."""
    return f"{conf.bridge}.{conf.vlan}" if conf.vlan and is_gateway(conf) else conf.bridge


def filter_vlans(conf: NetConf, state: StateBeforeAdd) -> Iterator[Op]:
    """Switch VLAN filtering on. The bridge's other ports stay together, in VLAN 1."""
    if wants_vlans(conf) and not state.filters_vlans:
        yield ops.FilterVlans(conf.bridge)


def ensure_gateway(conf: NetConf, state: StateBeforeAdd) -> Iterator[Op]:
    """Make the host's link in the VLAN. The reference plugin's link, a veth, is also accepted."""
    name, gateway = gateway_link(conf), state.gateway
    if name == conf.bridge or (gateway is not None and gateway.kind == "veth" and gateway.up):
        return
    if gateway is not None and gateway.kind not in {"vlan", "veth"}:
        raise InvalidConfigurationError(f"link {name} is there, and is in no VLAN")
    if gateway is None or gateway.kind == "vlan":
        yield ops.JoinVlans(conf.bridge, PortVlans(tagged=frozenset({conf.vlan})), own=True)
    if gateway is None:
        yield ops.CreateVlan(name, conf.bridge, conf.vlan)
        yield sysctl(Side.HOST, f"net/ipv6/conf/{name}/accept_ra", "0")
        yield no_dad(conf, name)
    elif not gateway.up:
        yield ops.SetUp(Side.HOST, name)


def join_port(conf: NetConf, host: str) -> Iterator[Op]:
    """Put the container's port into its VLANs."""
    vlans = port_vlans(conf)
    if vlans is None:
        return
    if not conf.preserve_default_vlan:
        yield ops.LeaveVlans(host)
    yield ops.JoinVlans(host, vlans)
