"""Changes of links, addresses, routes, neighbors and settings of a network namespace."""

import json
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from debug.faults.acts.base import FaultError, SpotAct, run
from debug.kernel.read import sysctl

_SETTINGS = Path("/proc/sys")
_ARP = 0x0806
_GONE = ("Cannot find device", "does not exist", "No such")
_VERBS: Mapping[str, tuple[str, ...]] = {  # of "ip link set dev LINK"
    "mtu": ("mtu",),
    "mac": ("address",),
    "hairpin": ("type", "bridge_slave", "hairpin"),
    "bridge filter": ("type", "bridge", "nf_call_iptables"),
}


class Setting(SpotAct, frozen=True, kw_only=True):
    """A sysctl, such as net/ipv4/ip_forward."""

    name: str
    value: str
    before: str = ""

    @property
    def what(self) -> str:
        """See ``SpotAct``."""
        return self.name

    def read(self) -> dict[str, Any]:
        """See ``SpotAct``."""
        before = sysctl(self.name)
        if before is None:
            raise FaultError(f"this kernel has no setting {self.name} in {self.spot}")
        return {"before": before}

    def enact(self) -> None:
        """See ``SpotAct``."""
        (_SETTINGS / self.name).write_text(self.value)

    def revert(self) -> None:
        """See ``SpotAct``. A setting of a link that has gone went with it."""
        if sysctl(self.name) not in (None, self.before):
            (_SETTINGS / self.name).write_text(self.before)


class LinkValue(SpotAct, frozen=True, kw_only=True):
    """A property of a link; ``field`` is one of mtu, mac, hairpin and "bridge filter"."""

    link: str
    field: str
    value: str
    before: str = ""

    @property
    def what(self) -> str:
        """See ``SpotAct``."""
        return f"{self.link} {self.field}"

    def read(self) -> dict[str, Any]:
        """See ``SpotAct``."""
        return {"before": _property(self.link, self.field)}

    def enact(self) -> None:
        """See ``SpotAct``."""
        self._set(self.value)

    def revert(self) -> None:
        """See ``SpotAct``."""
        self._set(self.before, *_GONE)

    def _set(self, value: str, *absent: str) -> None:
        run(["ip", "link", "set", "dev", self.link, *_VERBS[self.field], value], absent=absent)


def _property(link: str, field: str) -> str:
    (found,) = json.loads(run(["ip", "-json", "-details", "link", "show", "dev", link]))
    info = found.get("linkinfo", {})
    values = {
        "mtu": found["mtu"],
        "mac": found.get("address"),
        "hairpin": info.get("info_slave_data", {}).get("hairpin"),
        "bridge filter": info.get("info_data", {}).get("nf_call_iptables"),
    }
    if (value := values[field]) is None:
        raise FaultError(f"link {link} has no {field}")
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


class ExtraAddress(SpotAct, frozen=True, kw_only=True):
    """One more address of a link, with its prefix length."""

    link: str
    address: str
    had: bool = False

    @property
    def what(self) -> str:
        """See ``SpotAct``."""
        return f"{self.link} address {self.address}"

    def read(self) -> dict[str, Any]:
        """See ``SpotAct``."""
        return {"had": self._is_there()}

    def enact(self) -> None:
        """See ``SpotAct``."""
        run(["ip", "address", "replace", self.address, "dev", self.link])

    def revert(self) -> None:
        """See ``SpotAct``."""
        if not self.had and self._is_there():
            run(["ip", "address", "del", self.address, "dev", self.link], absent=_GONE)

    def _is_there(self) -> bool:
        words = ["ip", "-json", "address", "show", "dev", self.link]
        found = json.loads(run(words, absent=_GONE) or "[]")
        held = [f"{a['local']}/{a['prefixlen']}" for one in found for a in one["addr_info"]]
        return self.address in held


class ExtraRoute(SpotAct, frozen=True, kw_only=True):
    """A route that another program would have made; ``how`` as in "ip route add DESTINATION"."""

    destination: str
    how: tuple[str, ...]

    @property
    def what(self) -> str:
        """See ``SpotAct``."""
        return f"route {self.destination}"

    def read(self) -> dict[str, Any]:
        """See ``SpotAct``."""
        if self._is_there():
            raise FaultError(f"{self.spot} has a route {self.destination}, which would be lost")
        return {}

    def enact(self) -> None:
        """See ``SpotAct``."""
        run(["ip", "route", "replace", self.destination, *self.how])

    def revert(self) -> None:
        """See ``SpotAct``."""
        if self._is_there():
            run(["ip", "route", "del", self.destination], absent=_GONE)

    def _is_there(self) -> bool:
        return bool(json.loads(run(["ip", "-json", "route", "show", self.destination]) or "[]"))


class WrongNeighbor(SpotAct, frozen=True, kw_only=True):
    """A permanent entry of the neighbor table; ``before`` is the MAC of one that was there."""

    link: str
    ip: str
    mac: str
    before: str = ""

    @property
    def what(self) -> str:
        """See ``SpotAct``."""
        return f"{self.link} neighbor {self.ip}"

    def read(self) -> dict[str, Any]:
        """See ``SpotAct``. What the kernel learned, it learns again."""
        words = ["ip", "-json", "neigh", "show", self.ip, "dev", self.link, "nud", "permanent"]
        found = json.loads(run(words) or "[]")
        return {"before": found[0].get("lladdr", "") if found else ""}

    def enact(self) -> None:
        """See ``SpotAct``."""
        self._replace(self.mac)

    def revert(self) -> None:
        """See ``SpotAct``."""
        if self.before:
            return self._replace(self.before)
        run(["ip", "neigh", "del", self.ip, "dev", self.link], absent=_GONE)
        return None

    def _replace(self, mac: str) -> None:
        words = ["ip", "neigh", "replace", self.ip, "lladdr", mac, "dev", self.link]
        run([*words, "nud", "permanent"])


class Announced(SpotAct, frozen=True, kw_only=True):
    """Tells all neighbors who has an address (a gratuitous ARP, RFC 5227): when done, or undone."""

    link: str
    ip: str
    after: bool = False  # when undone

    @property
    def what(self) -> str:
        """See ``SpotAct``."""
        return f"{self.link} announces {self.ip} {'after' if self.after else 'now'}"

    def enact(self) -> None:
        """See ``SpotAct``."""
        if not self.after:
            self._announce()

    def revert(self) -> None:
        """See ``SpotAct``."""
        if self.after:
            self._announce()

    def _announce(self) -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((self.link, _ARP))
            own, ip = raw.getsockname()[4], socket.inet_aton(self.ip)
            body = struct.pack("!HHHBBH", _ARP, 1, 0x0800, 6, 4, 1)
            raw.send(b"\xff" * 6 + own + body + own + ip + bytes(6) + ip)
