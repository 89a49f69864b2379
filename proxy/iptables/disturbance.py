"""How the proxy learns that somebody else changed iptables rules of ours."""

import ctypes
import os
import socket
import struct
from collections.abc import Iterable

from proxy.errors import KernelRefused
from proxy.iptables import names
from proxy.iptables.names import Chain, Table
from proxy.iptables.observe import is_ours
from proxy.model import Family
from proxy.nft_events import Sort, Touch

_KUBELETS = {names.LOCALNET}  # kubelet writes the same rules there
_TABLES = {table.value for table in Table}
_GET_INFO = 64  # IPT_SO_GET_INFO, and IP6T_SO_GET_INFO
_INFO = struct.Struct(
    "32s 13I"
)  # struct ipt_getinfo; the last but one counts entries, the last bytes
_LEVEL = {Family.V4: socket.IPPROTO_IP, Family.V6: socket.IPPROTO_IPV6}
_AF = {Family.V4: socket.AF_INET, Family.V6: socket.AF_INET6}


def disturbance(touches: Iterable[Touch]) -> str:
    """What of iptables-nft's was touched; empty if nothing of ours.

    In the kernel's own chains only the removal of a jump of ours matters.
    """
    for touch in touches:
        if touch.sort is Sort.LOST:
            return "events were lost"
        if touch.table not in _TABLES:
            continue
        chain = Chain(Table(touch.table), touch.name)
        if touch.sort is Sort.TABLE and touch.deleted:
            return f"table {touch.table} was deleted"
        if touch.sort in (Sort.CHAIN, Sort.RULE) and _concerns(touch, chain):
            how = "deleted" if touch.deleted else "added"
            return f"a {touch.sort} was {how}: table {touch.table}, chain {touch.name}"
    return ""


def _concerns(touch: Touch, chain: Chain) -> bool:
    if is_ours(chain) and chain not in _KUBELETS:
        return touch.deleted or touch.sort is Sort.RULE
    return touch.sort is Sort.RULE and touch.deleted and b"KUBE-" in touch.text


def legacy_size(family: Family) -> tuple[int, ...]:
    """Entries and bytes of iptables-legacy's tables; the kernel sends no events about those.

    Raises KernelRefused.
    """
    try:
        with socket.socket(_AF[family], socket.SOCK_RAW, socket.IPPROTO_RAW) as asking:
            return tuple(number for table in Table for number in _info(asking, family, table))
    except OSError as err:
        raise KernelRefused(f"the size of iptables-legacy's tables: {err.strerror}") from err


def _info(asking: socket.socket, family: Family, table: Table) -> tuple[int, int]:
    info = ctypes.create_string_buffer(_INFO.pack(table.encode(), *([0] * 13)), _INFO.size)
    size = ctypes.c_uint(_INFO.size)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.getsockopt(asking.fileno(), _LEVEL[family], _GET_INFO, info, ctypes.byref(size)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    *_, entries, length = _INFO.unpack(info.raw)
    return entries, length
