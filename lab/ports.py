"""An end of a flow with a port, as people write it."""

from control.reported import ReportedError


class PortError(ReportedError):
    """What stands behind the colon is no port; the text says what would be one."""


def split_port(text: str) -> tuple[str, int | None]:
    """Split off the port; raises PortError. An IPv6 address with a port stands in brackets."""
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") > 1:
        address, port = text, ""
    else:
        address, _, port = text.partition(":")
    if not port:
        return address, None
    if not port.isdecimal() or len(port) > 5 or not 1 <= int(port) <= 65535:
        raise PortError(f"{port[:40]!r} is no port: give a number, such as {address[:80]}:80")
    return address, int(port)
