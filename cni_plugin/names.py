"""The names of what an attachment leaves on the host; pure.

All are made of (network, container ID, interface) alone, so that DEL needs neither the namespace
nor a file to find them again, also after a crash.
"""

from __future__ import annotations

import re
from base64 import b32encode
from hashlib import blake2b

# fullmatch, never match with "$": that would let a trailing newline through
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LINK_NAME = re.compile(r"[^\s/:\x00]+")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
_LONGEST_NAME = 15  # IFNAMSIZ less its NUL

_PREFIX = "pw"
_NETWORK_DIGITS, _ATTACHMENT_DIGITS = 4, 9
_LONGEST_ALIAS = 255  # IFALIASZ less its NUL


def _digest(text: str, digits: int) -> str:
    return b32encode(blake2b(text.encode(), digest_size=10).digest()).decode().lower()[:digits]


def host_prefix(network: str) -> str:
    """What the host's links of one network begin with."""
    return _PREFIX + _digest(network, _NETWORK_DIGITS)


def host_ifname(network: str, container_id: str, ifname: str) -> str:
    """The host's end of an attachment's veth pair, 15 characters."""
    attachment = _digest(f"{network}/{container_id}/{ifname}", _ATTACHMENT_DIGITS)
    return host_prefix(network) + attachment


def host_alias(network: str, container_id: str, ifname: str) -> str:
    """The link's alias, ``ip link`` shows it: whose it is, in words."""
    return f"{alias_prefix(network)}{ifname} {container_id}"[:_LONGEST_ALIAS]


def alias_prefix(network: str) -> str:
    """What the aliases of one network's links begin with."""
    return f"podwire {network} "


def bridge_mac(name: str, seed: str) -> str:
    """A bridge's own address, locally administered: the same after a restart on the same node."""
    return _mac(b"\x02", blake2b(f"{seed}/{name}".encode(), digest_size=5).digest())


def host_mac(network: str, container_id: str, ifname: str) -> str:
    """The host's end's address; 0xfe is high, so that no unpinned bridge takes it for its own."""
    text = f"{network}/{container_id}/{ifname}"
    return _mac(b"\xfe", blake2b(text.encode(), digest_size=5).digest())


def pod_mac(address: str) -> str:
    """A container's address on the link, made of its IP address.

    Whoever gets an IP address again has the MAC that the neighbours remember.
    """
    return _mac(b"\x0a\x58", blake2b(address.encode(), digest_size=4).digest())


def _mac(prefix: bytes, rest: bytes) -> str:
    return (prefix + rest).hex(":")


def is_identifier(text: str) -> bool:
    """Whether a text may be a container's ID, a network's or a plugin's name."""
    return _IDENTIFIER.fullmatch(text) is not None


def is_link_name(text: str) -> bool:
    """Whether the kernel takes a text as a link's name (dev_valid_name in net/core/dev.c)."""
    if text in {".", ".."} or not _LINK_NAME.fullmatch(text):
        return False
    # the kernel counts bytes; what came from the environment may be no UTF-8
    return len(text.encode(errors="surrogateescape")) <= _LONGEST_NAME


def is_mac(text: str) -> bool:
    """Whether a text is six pairs of hexadecimal digits with colons between them."""
    return _MAC.fullmatch(text) is not None
