"""Removes several links at once: it puts them into a group (IFLA_GROUP) and removes that."""

from collections.abc import Sequence

from cni_plugin.linux import uapi
from cni_plugin.linux.namespace import Namespace
from cni_plugin.linux.netlink import NetlinkError, pack

# users number link groups as they like; this number ("pwrm") is unlikely to be in use
_GROUP = 0x7077726D
_ANY_LINK = uapi.IFINFOMSG.pack(0, 0, 0, 0, 0)


def remove(host_ns: Namespace, names: Sequence[str]) -> None:
    """Remove the links that exist. Raises OSError."""
    for error in remove_all(host_ns, names).values():
        raise error


def remove_all(host_ns: Namespace, names: Sequence[str]) -> dict[str, OSError]:
    """Remove the links that exist. Returns the error of each link that is still there."""
    if len(names) > 1 and _remove_group(host_ns, names):
        return {}
    failed = {}
    for name in names:
        try:
            host_ns.remove_link(name)
        except OSError as err:
            failed[name] = err
    return failed


def _remove_group(host_ns: Namespace, names: Sequence[str]) -> bool:
    """Remove links as a group. Return false if the kernel refused that."""
    try:
        marked = [_mark(host_ns, name) for name in names]
        if any(marked):
            host_ns.socket.change(uapi.RTM_DELLINK, _ANY_LINK + pack({uapi.IFLA_GROUP: _GROUP}))
    except NetlinkError:
        return False
    return True


def _mark(host_ns: Namespace, name: str) -> bool:
    """Put a link into the group. Return false if it does not exist."""
    body = _ANY_LINK + pack({uapi.IFLA_IFNAME: name, uapi.IFLA_GROUP: _GROUP})
    try:
        host_ns.socket.change(uapi.RTM_NEWLINK, body)
    except NetlinkError as err:
        if err.absent:
            return False
        raise
    return True
