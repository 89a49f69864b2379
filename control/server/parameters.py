"""The values of ``podwire apiserver``'s flags, read as click asks for them. Pure."""

from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address, ip_network

import click

from control.api.times import duration
from control.server.access.authz import MODES
from control.server.state.server import Network

_SHORTEST = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """An address and port to listen on."""

    host: str
    port: int


def addresses(
    _: click.Context, __: click.Parameter, values: tuple[str, ...]
) -> list[ListenAddress]:
    """Read each ADDR:PORT. Raises click.BadParameter."""
    found = []
    for value in values:
        host, _colon, port = value.rpartition(":")
        try:
            found.append(ListenAddress(str(ip_address(host.strip("[]"))), int(port)))
        except ValueError as err:
            raise click.BadParameter(f"{value!r} is not ADDR:PORT") from err
        if not 0 <= found[-1].port < 65536:
            raise click.BadParameter(f"{value!r}: a port is 0 (any free port) to 65535")
    return found


def networks(_: click.Context, __: click.Parameter, value: str) -> tuple[Network, ...]:
    """Read ranges, separated by commas: one of each IP family. Raises click.BadParameter."""
    try:
        networks = tuple(ip_network(part) for part in value.split(","))
    except ValueError as err:
        raise click.BadParameter(str(err)) from err
    if len({network.version for network in networks}) < len(networks):
        raise click.BadParameter("at most one range for each of IPv4 and IPv6")
    return networks


def port_range(_: click.Context, __: click.Parameter, value: str) -> range:
    """Read FIRST-LAST. Raises click.BadParameter."""
    first, _dash, last = value.partition("-")
    if not (first.isdigit() and last.isdigit() and 0 < int(first) <= int(last) < 65536):
        raise click.BadParameter(f"{value!r} is not FIRST-LAST within 1-65535")
    return range(int(first), int(last) + 1)


def lifetime(_: click.Context, __: click.Parameter, value: str) -> timedelta:
    """Read a time of a second or more, as Go writes it. Raises click.BadParameter."""
    made = duration(value)
    if made is None or made < _SHORTEST:
        raise click.BadParameter(f"{value!r} is no time of a second or more, such as 30m or 1h0m0s")
    return made


def modes(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    """Read modes of authorization, each once. Raises click.BadParameter."""
    modes = tuple(value.split(","))
    unknown = [mode for mode in modes if mode not in MODES]
    if unknown or len(set(modes)) < len(modes):
        raise click.BadParameter(f"{value!r}: want each once, of {', '.join(MODES)}")
    return modes


def one_address(_: click.Context, __: click.Parameter, value: str) -> str:
    """Read an IP address. Raises click.BadParameter."""
    try:
        return str(ip_address(value))
    except ValueError as err:
        raise click.BadParameter(str(err)) from err
