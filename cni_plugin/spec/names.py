"""The names of what an attachment leaves on the host; pure.

All are made of (network, container ID, interface) alone, so that DEL needs neither the namespace
nor a file to find them again, also after a crash.
"""

import re
from base64 import b32encode
from functools import lru_cache

from cni_plugin.digest import blake2b

# fullmatch, never match with "$": that would let a trailing newline through
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LINK_NAME = re.compile(r"[^\s/:\x00]+")
_PLAIN = re.compile(r"[A-Za-z0-9_.@-]+")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
_LONGEST_NAME = 15  # IFNAMSIZ less its NUL

# all of one length: a wire, a chained plugin's work, a device for shaping
_PREFIX, _CHAINED, _IFB = "pw", "pc", "pi"
_NETWORK_DIGITS, _ATTACHMENT_DIGITS, _CONTAINER_DIGITS = 4, 9, 6
_LONGEST_ALIAS = 255  # IFALIASZ less its NUL


@lru_cache(256)
def _digest(text: str, digits: int) -> str:
    return b32encode(blake2b(text.encode(), digest_size=10).digest()).decode().lower()[:digits]


def host_prefix(network: str) -> str:
    """What the host's links of one network begin with."""
    return _PREFIX + _digest(network, _NETWORK_DIGITS)


def host_prefixes(network: str) -> tuple[str, str]:
    """What all links of one network begin with."""
    return host_prefix(network), _IFB + host_prefix(network).removeprefix(_PREFIX)


def host_ifname(network: str, container_id: str, ifname: str) -> str:
    """The host's end of an attachment's veth pair, 15 characters."""
    attachment = _digest(f"{network}/{container_id}/{ifname}", _ATTACHMENT_DIGITS)
    return host_prefix(network) + attachment


def owner(network: str, container_id: str, ifname: str, *, wired: bool) -> str:
    """Whose a firewall rule is; ``wired``: we made the interface, so its name is the owner's.

    Rules of a chained plugin's attachment have no link of ours to show that it lives, or of which
    container it is.
    """
    name = host_ifname(network, container_id, ifname)
    if wired:
        return name
    return f"{_CHAINED}{name.removeprefix(_PREFIX)}-{container_mark(container_id)}"


def container_mark(container_id: str) -> str:
    """What the owners of a container's chained attachments end with."""
    return _digest(container_id, _CONTAINER_DIGITS)


def attachment_of(owner_name: str) -> str:
    """An owner's name without its container, which those that an older version gave lack."""
    return owner_name.partition("-")[0]


def is_chained(owner_name: str) -> bool:
    """Whether an owner is a chained plugin's attachment."""
    return owner_name.startswith(_CHAINED)


def owned_by(network: str, owner_name: str) -> bool:
    """Whether an owner is of a network."""
    return owner_name[len(_PREFIX) :].startswith(host_prefix(network).removeprefix(_PREFIX))


def ifb_ifname(network: str, container_id: str, ifname: str) -> str:
    """The device that limits what an attachment sends (an IFB: tc-mirred(8))."""
    return _IFB + host_ifname(network, container_id, ifname).removeprefix(_PREFIX)


def host_alias(network: str, container_id: str, ifname: str) -> str:
    """The link's alias, ``ip link`` shows it: whose it is, in words."""
    return f"{alias_prefix(network)}{ifname} {container_id}"[:_LONGEST_ALIAS]


def parse_alias(alias: str) -> tuple[str, str, str] | None:
    """Whose a link is, by its alias: network, container ID, interface."""
    parts = alias.split(" ")
    if len(parts) != 4 or parts[0] != "podwire" or len(alias) == _LONGEST_ALIAS:
        return None
    return parts[1], parts[3], parts[2]


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
    """Whether the kernel takes a text as a link's name (dev_valid_name in net/core/dev.c).

    Bytes that are no UTF-8 it would take too; no document could then name the link.
    """
    if text in {".", ".."} or not _LINK_NAME.fullmatch(text):
        return False
    try:
        return len(text.encode()) <= _LONGEST_NAME  # the kernel counts bytes
    except UnicodeEncodeError:  # bytes of the environment, or half a pair in JSON: no text
        return False


def short_digest(text: str) -> str:
    """Ten characters for a text that must not stand where it is used."""
    return _digest(text, 10)


def is_plain(text: str) -> bool:
    """Whether a link's name may stand in a firewall rule as it is."""
    return _PLAIN.fullmatch(text) is not None


def is_mac(text: str) -> bool:
    """Whether a text is six pairs of hexadecimal digits with colons between them."""
    return _MAC.fullmatch(text) is not None
