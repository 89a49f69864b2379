"""What exabgp says of its sessions with routers. Pure.

exabgp writes a line to the program of its commands for each change; a session is up until it says
``down``, or ends itself.
"""

from ipaddress import ip_address

from control.cloud.speaker.views import Address

_MOST_BYTES = 4096  # of a line


class Sessions:
    """The routers with which a session is up."""

    def __init__(self) -> None:
        self.up: set[Address] = set()
        self._rest = b""

    def take(self, piece: bytes) -> list[tuple[Address, bool]]:
        """Take a piece of exabgp's lines; return which sessions came up (True) or went."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        self._rest = self._rest[-_MOST_BYTES:]
        changes = [change for line in lines if (change := _change(line)) is not None]
        return [each for each in changes if self._set(*each)]

    def reset(self) -> None:
        """Forget all sessions: exabgp has ended."""
        self.up.clear()
        self._rest = b""

    def _set(self, address: Address, is_up: bool) -> bool:
        """Note a session; return True if that is new."""
        if is_up == (address in self.up):
            return False
        (self.up.add if is_up else self.up.discard)(address)
        return True


def _change(line: bytes) -> tuple[Address, bool] | None:
    """Read ``neighbor ADDRESS up`` or ``neighbor ADDRESS down - WHY``; None for other lines."""
    words = line.decode(errors="replace").split()
    if len(words) < 3 or words[0] != "neighbor" or words[2] not in ("up", "down"):
        return None
    try:
        return ip_address(words[1]), words[2] == "up"
    except ValueError:
        return None
