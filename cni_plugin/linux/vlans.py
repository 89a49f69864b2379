"""The VLANs of a bridge and of its ports.

Source: bridge(8), "bridge vlan"; include/uapi/linux of Linux 6.18: if_bridge.h, if_link.h;
br_process_vlan_info in net/bridge/br_netlink.c.
"""

import errno
import struct
from collections.abc import Iterable, Iterator

from cni_plugin.linux import uapi
from cni_plugin.linux.netlink import Attributes, NetlinkError, Socket, number, pack, unpack
from cni_plugin.spec.errors import InvalidConfigurationError, UnsupportedFieldError
from cni_plugin.spec.kernel_state import PortVlans

_ALL = range(1, 4095)
_RTM_SETLINK, _RTM_GETVLAN = 19, 114
_IFLA_BR_VLAN_FILTERING, _IFLA_VLAN_ID = 7, 1
_IFLA_AF_SPEC, _IFLA_BRIDGE_FLAGS, _IFLA_BRIDGE_VLAN_INFO = 26, 0, 2
_BRIDGE_FLAGS_SELF = struct.pack("=H", 2)
_PVID, _UNTAGGED, _RANGE_BEGIN, _RANGE_END = 0x02, 0x04, 0x08, 0x10
_VLAN_INFO = struct.Struct("=HH")  # bridge_vlan_info: flags, ID
_BR_VLAN_MSG = struct.Struct("=BxxxI")  # family, index
_BRIDGE_VLANDB_ENTRY, _ENTRY_INFO, _ENTRY_RANGE = 1, 1, 2
_ATTRIBUTE = struct.Struct("=HH")


def filters(socket: Socket, bridge: str) -> bool:
    """Return true if a bridge exists and filters VLANs."""
    wanted = uapi.IFINFOMSG.pack(0, 0, 0, 0, 0) + pack({uapi.IFLA_IFNAME: bridge})
    found = socket.get(uapi.RTM_GETLINK, wanted)
    if found is None:
        return False
    info = unpack(found, uapi.IFINFOMSG.size).get(uapi.IFLA_LINKINFO, b"")
    data = unpack(unpack(info).get(uapi.IFLA_INFO_DATA, b""))
    return bool(number(data.get(_IFLA_BR_VLAN_FILTERING)))


def filter_vlans(socket: Socket, bridge: str) -> None:
    """Switch a bridge's VLAN filtering on. Raises UnsupportedFieldError, NetlinkError."""
    data: Attributes = {_IFLA_BR_VLAN_FILTERING: b"\1"}
    attributes: Attributes = {
        uapi.IFLA_IFNAME: bridge,
        uapi.IFLA_LINKINFO: {uapi.IFLA_INFO_KIND: "bridge", uapi.IFLA_INFO_DATA: data},
    }
    try:
        socket.change(uapi.RTM_NEWLINK, uapi.IFINFOMSG.pack(0, 0, 0, 0, 0) + pack(attributes))
    except NetlinkError as err:
        if err.errno != errno.EOPNOTSUPP:
            raise
        raise UnsupportedFieldError(
            "vlan and vlanTrunk: the kernel's bridges keep no VLANs apart",
            "it is built without CONFIG_BRIDGE_VLAN_FILTERING",
        ) from err


def leave_all(socket: Socket, index: int) -> None:
    """Remove a port from all VLANs. A new port is in the bridge's default VLAN only."""
    socket.change(uapi.RTM_DELLINK, _spec(index, _entries(_ALL, 0)))


def join(socket: Socket, index: int, vlans: PortVlans, *, own: bool) -> None:
    """Put a port into VLANs. With ``own`` it is the bridge itself, which then receives frames."""
    entries = [_VLAN_INFO.pack(_PVID | _UNTAGGED, vlans.native)] if vlans.native else []
    entries += _entries(sorted(vlans.tagged), 0)
    if entries:
        socket.change(_RTM_SETLINK, _spec(index, entries, own=own))


def create_link(socket: Socket, name: str, bridge: int, vlan: int) -> None:
    """Create the host's link in a VLAN of a bridge, up, unless a link of the name exists.

    Raises UnsupportedFieldError, InvalidConfigurationError, NetlinkError.
    """
    data: Attributes = {_IFLA_VLAN_ID: struct.pack("=H", vlan)}
    attributes: Attributes = {
        uapi.IFLA_IFNAME: name,
        uapi.IFLA_LINK: bridge,
        uapi.IFLA_LINKINFO: {uapi.IFLA_INFO_KIND: "vlan", uapi.IFLA_INFO_DATA: data},
    }
    body = uapi.IFINFOMSG.pack(0, 0, 0, uapi.IFF_UP, uapi.IFF_UP) + pack(attributes)
    try:
        socket.change(uapi.RTM_NEWLINK, body, uapi.NLM_F_CREATE | uapi.NLM_F_EXCL)
    except NetlinkError as err:
        _explain(err, socket, name, vlan)


def _explain(err: NetlinkError, socket: Socket, name: str, vlan: int) -> None:
    """Raise an error that explains the kernel's, unless another ADD was faster."""
    if err.errno == errno.EOPNOTSUPP:
        raise UnsupportedFieldError(
            f"vlan: the kernel can make no link {name} for the gateway",
            "it is built without CONFIG_VLAN_8021Q",
        ) from err
    if err.errno != errno.EEXIST:
        raise err
    wanted = uapi.IFINFOMSG.pack(0, 0, 0, 0, 0) + pack({uapi.IFLA_IFNAME: name})
    if socket.get(uapi.RTM_GETLINK, wanted) is None:
        raise InvalidConfigurationError(
            f"the bridge has a link for VLAN {vlan} that is not called {name}",
            f"the gateway's addresses belong on a link of the name {name}: rename it",
        ) from err


def memberships(socket: Socket, index: int) -> PortVlans:
    """The VLANs of a port, or of a bridge itself (Linux 5.6)."""
    found: dict[int, int] = {}
    for item in socket.dump(_RTM_GETVLAN, _BR_VLAN_MSG.pack(uapi.AF_BRIDGE, index)):
        for entry in _repeated(item[_BR_VLAN_MSG.size :], _BRIDGE_VLANDB_ENTRY):
            attributes = unpack(entry)
            flags, first = _VLAN_INFO.unpack_from(attributes[_ENTRY_INFO])
            last = number(attributes.get(_ENTRY_RANGE)) or first
            found |= dict.fromkeys(range(first, last + 1), flags)
    return PortVlans(
        native=next((vlan for vlan, flags in found.items() if flags & _PVID), 0),
        tagged=frozenset(vlan for vlan, flags in found.items() if not flags & _UNTAGGED),
        untagged=frozenset(vlan for vlan, flags in found.items() if flags & _UNTAGGED),
    )


def _spec(index: int, entries: Iterable[bytes], *, own: bool = False) -> bytes:
    spec = pack({_IFLA_BRIDGE_FLAGS: _BRIDGE_FLAGS_SELF}) if own else b""
    spec += b"".join(pack({_IFLA_BRIDGE_VLAN_INFO: entry}) for entry in entries)
    head = uapi.IFINFOMSG.pack(uapi.AF_BRIDGE, 0, index, 0, 0)
    return head + pack({_IFLA_AF_SPEC: spec})


def _entries(vlans: Iterable[int], flags: int) -> list[bytes]:
    """Encode ascending VLANs: one entry for a single VLAN, two for a range."""
    entries: list[bytes] = []
    run: list[int] = []
    for vlan in (*vlans, 0):
        if run and vlan != run[-1] + 1:
            entries += _run(run[0], run[-1], flags)
            run = []
        run.append(vlan)
    return entries


def _run(first: int, last: int, flags: int) -> list[bytes]:
    if first == last:
        return [_VLAN_INFO.pack(flags, first)]
    ends = ((flags | _RANGE_BEGIN, first), (flags | _RANGE_END, last))
    return [_VLAN_INFO.pack(*end) for end in ends]


def _repeated(data: bytes, kind: int) -> Iterator[bytes]:
    """All attributes of one kind; ``unpack`` keeps only the last of them."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, found = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        if found & uapi.NLA_TYPE_MASK == kind:
            yield data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
