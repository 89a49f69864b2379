"""The iptables commands, in either of their two flavors.

Source: iptables-restore(8), iptables-save(8), xtables-nft(8); the chains of iptables-nft are the
kernel's own (include/uapi/linux/netfilter/nf_tables.h), those of iptables-legacy a table's
entries (include/uapi/linux/netfilter_ipv4/ip_tables.h).
"""

import ctypes
import os
import struct
from _socket import IPPROTO_IP, IPPROTO_IPV6, IPPROTO_RAW, SOCK_RAW, socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cni_plugin.firewall import native_rules
from cni_plugin.firewall.iptables_rules import ANCHORS, FILTER, NAT, PREFIX, SavedRules, parse
from cni_plugin.linux import programs, uapi
from cni_plugin.linux.netlink import NetlinkError, Socket, pack
from cni_plugin.spec.errors import OperationRefusedError, TryAgainLaterError, UnsupportedFieldError

# empty: the flavor of the command without a flavor in its name
Flavor = Literal["", "nft", "legacy"]
_PATIENCE = "10"  # seconds to wait for another program's xtables lock
_LOCKED = 4  # exit code after that wait, among other errors (RESOURCE_PROBLEM)
_ADMIN_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"  # a runtime's PATH may lack them
_COMMAND = {4: "iptables", 6: "ip6tables"}
_FAMILY = {4: uapi.AF_INET, 6: uapi.AF_INET6}

_NFT_MSG_GETCHAIN = 10 << 8 | 4  # NFNL_SUBSYS_NFTABLES
_NFGENMSG = struct.Struct("!BBH")
_NFTA_CHAIN_TABLE, _NFTA_CHAIN_NAME = 1, 3

_LEVEL = {4: IPPROTO_IP, 6: IPPROTO_IPV6}
_NAMES = {4: "ip_tables_names", 6: "ip6_tables_names"}
_GET_INFO, _GET_ENTRIES = 64, 65  # IPT_SO_*, and the same for IP6T_SO_*
_INFO = struct.Struct("32s13I")  # struct ipt_getinfo: its last number is the entries' size
_ENTRIES = struct.Struct("32sI4x")  # struct ipt_get_entries, aligned for what follows


class IptablesError(OperationRefusedError):
    """An iptables command failed."""


@dataclass(frozen=True, slots=True)
class IptablesTool:
    """The commands of one IP version and flavor.

    Each command inherits the descriptor ``lock``. So a command that outlives a killed plugin still
    holds the lock.
    """

    version: int
    flavor: Flavor
    lock: int

    def save(self) -> SavedRules:
        """Our chains and rules. Raises IptablesError."""
        try:
            printed = self._run("save", "")
        except IptablesError:
            if self.flavor == "legacy":
                raise
            printed = native_rules.UNPRINTABLE
        if native_rules.UNPRINTABLE in printed:
            printed = "\n".join(self._each_chain())
        return parse(printed)

    def _each_chain(self) -> Iterator[str]:
        """Our chains and rules, where iptables-nft-save cannot print a rule of somebody else's."""
        for table, name in native_rules.own_chains(self.version):
            yield f"*{table}\n:{name} - [0:0]"
            yield run([self._command(""), "-t", table, "-S", name], "", self.lock)
        for rule in native_rules.hooked(self.version):
            yield f"*{rule.table}\n-A{rule.command('-D').removeprefix('-D')}"

    def unhook(self) -> None:
        """Delete our rules in the base chains, one of which iptables-nft cannot print.

        Raises OperationRefusedError.
        """
        native_rules.unhook(self.version)

    def restore(self, transaction: str) -> None:
        """Commit a transaction: in each table all of it or nothing. Raises IptablesError."""
        if transaction:
            self._run("restore", transaction, "--noflush", "-w", _PATIENCE)

    def _run(self, verb: str, text: str, *options: str) -> str:
        return run([self._command(verb), *options], text, self.lock)

    def _command(self, verb: str) -> str:
        plain, ending = _COMMAND[self.version], f"-{verb}" if verb else ""
        flavored = f"{plain}-{self.flavor}{ending}" if self.flavor else f"{plain}{ending}"
        plain += ending
        found = _find(flavored) or _find(plain)
        if found is None:
            raise UnsupportedFieldError(f"this host has no {plain}", "install iptables")
        return str(found)


def is_installed() -> bool:
    """Return true if this host has the commands, at least those of IPv4."""
    return _find("iptables-restore") is not None


def _find(name: str) -> Path | None:
    return programs.find(name, f"{os.environ.get('PATH', '')}:{_ADMIN_FOLDERS}")


def run(argv: list[str], text: str, lock: int) -> str:
    """Run a command with ``text`` as its input. Returns its output.

    Raises TryAgainLaterError, IptablesError.
    """
    process = programs.execute(argv, text.encode(), descriptors=(lock,))
    stderr = process.stderr.decode(errors="replace").strip()
    if process.code == _LOCKED and "xtables lock" in stderr:
        raise TryAgainLaterError(f"{argv[0]}: another program holds the xtables lock", stderr)
    if process.code:
        raise IptablesError(f"{argv[0]} refused the attachment's rules", f"{stderr}; in {text!r}")
    return process.stdout.decode(errors="replace")


def flavors_in_use() -> dict[int, list[Flavor]]:
    """The flavors whose tables have chains of ours, by IP version. The kernel tells them."""
    with Socket(uapi.NETLINK_NETFILTER) as kernel:
        return {version: list(_flavors(kernel, version)) for version in _COMMAND}


def _flavors(kernel: Socket, version: int) -> Iterator[Flavor]:
    if any(_has_chain(kernel, version, table, name) for table, name in ANCHORS):
        yield "nft"
    if _legacy_has_chains(version):
        yield "legacy"


def _has_chain(kernel: Socket, version: int, table: str, name: str) -> bool:
    head = _NFGENMSG.pack(_FAMILY[version], 0, 0)
    wanted = {_NFTA_CHAIN_TABLE: table, _NFTA_CHAIN_NAME: name}
    try:
        return kernel.get(_NFT_MSG_GETCHAIN, head + pack(wanted)) is not None
    except NetlinkError:  # a kernel without nf_tables has no such chain
        return False


def _legacy_has_chains(version: int) -> bool:
    """Return true if a legacy table has a chain of ours.

    Only existing tables are read: to read another one would create it.
    """
    try:
        names = Path("/proc/thread-self/net", _NAMES[version]).read_bytes().decode().split()
    except OSError:  # a kernel that has no ip_tables, or has not loaded them
        return False
    tables = [table for table in (NAT, FILTER) if table in names]
    if not tables:
        return False
    with closing(socket(_FAMILY[version], SOCK_RAW, IPPROTO_RAW)) as kernel:
        return any(PREFIX.encode() in _entries(kernel, version, table) for table in tables)


def _entries(kernel: socket, version: int, table: str) -> bytes:
    """The kernel's copy of a table; it contains the names of the chains as text."""
    name = table.encode()
    info = _get_option(kernel, version, _GET_INFO, _INFO.pack(name, *[0] * 13))
    size = _INFO.unpack(info)[-1]
    return _get_option(kernel, version, _GET_ENTRIES, _ENTRIES.pack(name, size) + bytes(size))


def _get_option(kernel: socket, version: int, option: int, request: bytes) -> bytes:
    """getsockopt(2) with a request in the buffer, which Python's getsockopt does not support."""
    buffer = ctypes.create_string_buffer(request, len(request))
    size = ctypes.c_uint(len(request))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.getsockopt(kernel.fileno(), _LEVEL[version], option, buffer, ctypes.byref(size)):
        code = ctypes.get_errno()
        raise OperationRefusedError(f"the kernel does not show its iptables: {os.strerror(code)}")
    return buffer.raw
