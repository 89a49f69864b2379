"""Reads resolv.conf for a result's ``dns``.

Source: resolv.conf(5).
"""

from pathlib import Path

from cni_plugin.spec.errors import InputOutputError
from cni_plugin.spec.result import Dns

_LONGEST = 1 << 20


def read_resolv_conf(path: Path) -> Dns:
    """Parse a file. Raises InputOutputError."""
    try:
        with path.open(errors="replace") as file:
            return parse_resolv_conf(file.read(_LONGEST))
    except OSError as err:
        raise InputOutputError(f"ipam.resolvConf cannot be read: {err}") from err


def parse_resolv_conf(text: str) -> Dns:
    """Parse a file's text. The last ``domain`` and the last ``search`` count."""
    servers: list[str] = []
    options: list[str] = []
    domain, search = "", tuple[str, ...]()
    for line in text.splitlines():
        keyword, *values = line.split() or [""]
        if keyword == "nameserver" and values:
            servers.append(values[0])
        elif keyword == "domain" and values:
            domain = values[0]
        elif keyword == "search":
            search = tuple(values)
        elif keyword == "options":
            options += values
    return Dns(tuple(servers), domain, search, tuple(options))
