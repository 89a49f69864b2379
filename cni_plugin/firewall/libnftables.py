"""nftables in this process, through libnftables: a transaction takes 0.2 ms instead of a process.

Source: nftables' include/nftables/libnftables.h and libnftables-json(5), version 1.0.6.
"""

import ctypes
import errno
import json
import os
from collections import Counter
from dataclasses import replace
from functools import cache
from typing import Any

from cni_plugin.firewall.nftables_rules import (
    SKELETON,
    TABLE,
    Element,
    TableAdditions,
    add_transaction,
)
from cni_plugin.linux import uapi
from cni_plugin.linux.netlink import Socket
from cni_plugin.spec.errors import OperationRefusedError, UnsupportedFieldError

_NFT_MSG_GETGEN = 10 << 8 | 16  # NFNL_SUBSYS_NFTABLES; libnftables asks it and four more
_NFGENMSG = bytes(4)  # any family
_JSON = 1 << 4  # NFT_CTX_OUTPUT_JSON
# libnftables tells the kernel's error in words only: errno is EAGAIN after its own look-ups.
_ERRNO = {os.strerror(number): number for number in (errno.ENOENT, errno.EEXIST)}
Json = dict[str, Any]


class NftablesError(Exception):
    """libnftables refused commands. ``errno`` is ENOENT, EEXIST, or 0 for any other error."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        errors = (line for line in message.splitlines() if "Error: " in line)
        self.errno = next(
            (number for line in errors for words, number in _ERRNO.items() if words in line), 0
        )

    @property
    def absent(self) -> bool:
        """True if the table is not there."""
        return self.errno == errno.ENOENT

    @property
    def exists(self) -> bool:
        """True if an element's key is there already."""
        return self.errno == errno.EEXIST


@cache
def usable() -> bool:
    """Return true if this host has libnftables, and a kernel with nf_tables."""
    try:
        _library()
        with Socket(uapi.NETLINK_NETFILTER) as kernel:
            return kernel.get(_NFT_MSG_GETGEN, _NFGENMSG) is not None
    except (UnsupportedFieldError, OSError):
        return False


def add(additions: TableAdditions) -> None:
    """Add to the table; its chains, and the table itself, where they are missing.

    After a transaction that flushes a chain, the kernel lets whoever closes the socket wait for
    4 ms, so chains that are there are left as they are. Raises NftablesError.
    """
    try:
        run(add_transaction(replace(additions, sets=(), chains=())))
    except NftablesError as err:
        if not err.absent:
            raise
        run(SKELETON + add_transaction(additions))


def owned_elements() -> dict[str, set[Element]]:
    """All elements by their owners, as ``nftables_rules`` writes them, without their values."""
    found: dict[str, set[Element]] = {}
    for kind, item in _table():
        if kind not in {"map", "set"}:
            continue
        for entry in item.get("elem", ()):
            element = (entry[0] if isinstance(entry, list) else entry)["elem"]
            owned = found.setdefault(element.get("comment", ""), set())
            owned.add(Element(item["name"], _key(element["val"])))
    return found


def table_rule_counts() -> Counter[str]:
    """The number of rules of each chain of the table."""
    return Counter(item["chain"] for kind, item in _table() if kind == "rule")


def _key(value: Any) -> str:
    if isinstance(value, dict):
        if "concat" in value:
            return " . ".join(map(_key, value["concat"]))
        if "prefix" in value:
            return f"{value['prefix']['addr']}/{value['prefix']['len']}"
    return str(value)


def _table() -> list[tuple[str, Json]]:
    try:
        listed = json.loads(run(f"list table {TABLE}"))
    except NftablesError as err:
        if err.absent:
            return []
        raise OperationRefusedError(f"nftables does not list table {TABLE}", str(err)) from err
    return [pair for item in listed["nftables"] for pair in item.items()]


def run(text: str) -> str:
    """Run commands in the caller's network namespace. Returns their output, as JSON.

    Raises NftablesError, or UnsupportedFieldError on a host without libnftables.
    """
    library = _library()
    context = library.nft_ctx_new(0)
    try:
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        library.nft_ctx_output_set_flags(context, _JSON)
        if library.nft_run_cmd_from_buffer(context, text.encode()):
            message: bytes = library.nft_ctx_get_error_buffer(context)
            raise NftablesError(message.decode(errors="replace"))
        output: bytes = library.nft_ctx_get_output_buffer(context)
        return output.decode()
    finally:
        library.nft_ctx_free(context)


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError as err:
        raise UnsupportedFieldError("this host has no libnftables", "Debian: libnftables1") from err
    library.nft_ctx_new.restype = ctypes.c_void_p
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).restype = ctypes.c_char_p
    for name in ("get_output_buffer", "get_error_buffer", "buffer_output", "buffer_error", "free"):
        getattr(library, f"nft_ctx_{name}").argtypes = [ctypes.c_void_p]
    library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return library
