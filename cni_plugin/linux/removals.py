"""Removals of links, several at once: put into one group (IFLA_GROUP), which is removed whole."""

from collections.abc import Sequence

from cni_plugin.linux import uapi
from cni_plugin.linux.namespace import Namespace
from cni_plugin.linux.netlink import NetlinkError, pack

# Link groups are a user's to number; nobody numbers theirs like this ("pwrm").
_GROUP = 0x7077726D
_ANY_LINK = uapi.IFINFOMSG.pack(0, 0, 0, 0, 0)


def remove(host_ns: Namespace, names: Sequence[str]) -> None:
    """Remove links; those that are not there are fine. Raises OSError."""
    for error in remove_all(host_ns, names).values():
        raise error


def remove_all(host_ns: Namespace, names: Sequence[str]) -> dict[str, OSError]:
    """Remove links together; returns why some are still there."""
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
    """Whether all of them are gone; if not, one of them does not want to go."""
    try:
        marked = [_mark(host_ns, name) for name in names]
        if any(marked):
            host_ns.socket.change(uapi.RTM_DELLINK, _ANY_LINK + pack({uapi.IFLA_GROUP: _GROUP}))
    except NetlinkError:
        return False
    return True


def _mark(host_ns: Namespace, name: str) -> bool:
    """Put a link into the group; whether it was there."""
    body = _ANY_LINK + pack({uapi.IFLA_IFNAME: name, uapi.IFLA_GROUP: _GROUP})
    try:
        host_ns.socket.change(uapi.RTM_NEWLINK, body)
    except NetlinkError as err:
        if err.absent:
            return False
        raise
    return True
