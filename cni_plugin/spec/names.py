"""The names of the objects that an attachment has on the host; pure.

A name depends on (network, container ID, interface) only. So DEL finds the objects without the
container's namespace and without a file, also after a crash.
"""

import re
from base64 import b32encode
from functools import lru_cache
from typing import NamedTuple

from cni_plugin.digest import blake2b

# always with fullmatch: match and "$" would accept a newline at the end
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LINK_NAME = re.compile(r"[^\s/:%\x00]+")
_PLAIN = re.compile(r"[A-Za-z0-9_.@-]+")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
_LONGEST_NAME = 15  # IFNAMSIZ less its NUL

# prefixes of one length: a veth pair, a chained plugin's rules, a device that limits sending
_VETH, _CHAINED, _IFB = "pw", "pc", "pi"
_NETWORK_DIGITS, _ATTACHMENT_DIGITS, _CONTAINER_DIGITS = 4, 9, 6
_LONGEST_ALIAS = 254  # bytes: with a NUL the kernel takes less than IFALIASZ (dev_set_alias)


class Names(NamedTuple):
    """The names of one attachment's objects on the host.

    ``host_link`` is the host's end of the veth pair, ``host_mac`` its MAC address, ``alias`` its
    alias, which ``ip link`` shows. ``ifb`` is the device that limits what the container sends
    (tc-mirred(8)). ``owner`` is the comment of the attachment's firewall rules.
    """

    host_link: str
    host_mac: str
    alias: str
    ifb: str
    owner: str

    @property
    def links(self) -> tuple[str, str]:
        """All links of the attachment on the host."""
        return self.host_link, self.ifb


@lru_cache(256)
def names_of(network: str, container_id: str, ifname: str, *, wired: bool) -> Names:
    """The names of an attachment. ``wired`` is true if this plugin makes the interface.

    The owner of a wired attachment's rules has the name of its link, which exists as long as the
    attachment. A chained attachment has no such link, so its owner's name ends with the container.
    """
    key = f"{network}/{container_id}/{ifname}"
    suffix = _digest(network, _NETWORK_DIGITS) + _digest(key, _ATTACHMENT_DIGITS)
    return Names(
        host_link=_VETH + suffix,
        # 0xfe is high: a bridge without a pinned address takes the lowest of its ports
        host_mac=_mac(b"\xfe", blake2b(key.encode(), digest_size=5).digest()),
        alias=_cut(f"podwire {network} {ifname} {container_id}"),
        ifb=_IFB + suffix,
        owner=_VETH + suffix if wired else f"{_CHAINED}{suffix}-{container_suffix(container_id)}",
    )


def host_link_name(network: str, container_id: str, ifname: str) -> str:
    """The host's end of an attachment's veth pair, 15 characters."""
    return names_of(network, container_id, ifname, wired=True).host_link


def container_suffix(container_id: str) -> str:
    """The end of the owner names of a container's chained attachments."""
    return _digest(container_id, _CONTAINER_DIGITS)


def attachment_of(owner: str) -> str:
    """An owner's name without its container. Owners of older versions have no container."""
    return owner.partition("-")[0]


def is_chained(owner: str) -> bool:
    """Return true if an owner is a chained plugin's attachment."""
    return owner.startswith(_CHAINED)


def is_owned_by(network: str, owner: str) -> bool:
    """Return true if an owner's attachment is to a network."""
    return owner[len(_VETH) :].startswith(_digest(network, _NETWORK_DIGITS))


def link_prefixes(network: str) -> tuple[str, str]:
    """The prefixes of the names of all links of one network."""
    digits = _digest(network, _NETWORK_DIGITS)
    return _VETH + digits, _IFB + digits


def alias_prefix(network: str) -> str:
    """The prefix of the aliases of one network's links."""
    return _cut(f"podwire {network} ")


def _cut(alias: str) -> str:
    """An alias of a length that the kernel takes."""
    return alias.encode()[:_LONGEST_ALIAS].decode(errors="ignore")


def parse_alias(alias: str) -> tuple[str, str, str] | None:
    """The (network, container ID, interface) of a link's alias; None for any other alias.

    Also for one that was cut: its container ID is not whole, or not there.
    """
    parts = alias.split(" ")
    if len(parts) != 4 or parts[0] != "podwire" or len(alias.encode()) >= _LONGEST_ALIAS:
        return None
    return parts[1], parts[3], parts[2]


def bridge_mac(name: str, seed: str) -> str:
    """A bridge's MAC address, locally administered: the same after each restart on one node."""
    return _mac(b"\x02", blake2b(f"{seed}/{name}".encode(), digest_size=5).digest())


def pod_mac(address: str) -> str:
    """A container's MAC address, made of its IP address.

    So the next container with the IP address has the MAC address that the neighbors remember.
    """
    return _mac(b"\x0a\x58", blake2b(address.encode(), digest_size=4).digest())


def _mac(prefix: bytes, rest: bytes) -> str:
    return (prefix + rest).hex(":")


@lru_cache(256)
def _digest(text: str, digits: int) -> str:
    return b32encode(blake2b(text.encode(), digest_size=10).digest()).decode().lower()[:digits]


def short_digest(text: str) -> str:
    """Ten characters that stand for a text that is too long or not safe."""
    return _digest(text, 10)


def is_identifier(text: str) -> bool:
    """Return true if a text may be a container ID, or the name of a network or a plugin."""
    return _IDENTIFIER.fullmatch(text) is not None


def is_link_name(text: str) -> bool:
    """Return true if the kernel accepts a text as a link's name (dev_valid_name, net/core/dev.c).

    The kernel also accepts bytes that are no UTF-8, but no JSON document could name that link. For
    it a name with % is a pattern: br%d makes br0, a link that the caller does not know.
    """
    if text in {".", ".."} or not _LINK_NAME.fullmatch(text):
        return False
    try:
        return len(text.encode()) <= _LONGEST_NAME  # the kernel counts bytes
    except UnicodeEncodeError:  # bytes of the environment, or half a surrogate pair in JSON
        return False


def is_plain(text: str) -> bool:
    """Return true if a link's name may stand in a firewall rule without quotes."""
    return _PLAIN.fullmatch(text) is not None


def is_mac(text: str) -> bool:
    """Return true if a text is six pairs of hexadecimal digits with colons between them."""
    return _MAC.fullmatch(text) is not None
