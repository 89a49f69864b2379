"""What a machine's cable can be: values, and the texts of options. Pure."""

import re
from dataclasses import dataclass

from control.reported import ReportedError

USUAL_MTU = 1500
_LEAST_MTU = {4: 68, 6: 1280}  # RFC 791, RFC 8200
_MOST_MTU = 65535
_RATE = re.compile(r"(\d+(?:\.\d+)?)(kbit|mbit|gbit)")
_DELAY = re.compile(r"(\d+(?:\.\d+)?)(ms|s)")
_BITS = {"kbit": 1_000, "mbit": 1_000_000, "gbit": 1_000_000_000}
_LEAST_RATE, _MOST_RATE = 8_000, 100_000_000_000
_MOST_DELAY = 60_000.0


class LinkError(ReportedError):
    """A cable cannot be so; the text names the option, the cause, and the remedy."""


@dataclass(frozen=True, slots=True)
class Quality:
    """A cable, the same in both ways; the defaults are those of a good one."""

    delay: float = 0.0  # milliseconds each way
    loss: float = 0.0  # percent of the packets each way
    rate: int = 0  # bits a second each way; 0: as fast as it can
    mtu: int = 0  # bytes; 0: the usual
    down: bool = False

    def __str__(self) -> str:
        parts = [
            f"delays by {self.delay:g} ms" if self.delay else "",
            f"loses {self.loss:g} % of packets" if self.loss else "",
            f"carries {rate_text(self.rate)}" if self.rate else "",
            f"has MTU {self.mtu}" if self.mtu else "",
            "is cut" if self.down else "",
        ]
        return ", ".join(part for part in parts if part) or "is good"


def rate_text(rate: int) -> str:
    """Return a rate as tc(8) writes it."""
    unit = next((u for u in ("gbit", "mbit", "kbit") if rate % _BITS[u] == 0), "")
    return f"{rate // _BITS[unit]}{unit}" if unit else f"{rate}bit"


def parse_delay(text: str) -> float:
    """Read 50ms or 1.5s; raises LinkError."""
    found = _DELAY.fullmatch(text)
    delay = float(found[1]) * (1 if found[2] == "ms" else 1000) if found else -1
    if not 0 <= delay <= _MOST_DELAY:
        raise LinkError(f"--delay {text!r:.60}: want 0ms to 60s, as 50ms or 1.5s")
    return delay


def parse_loss(text: str) -> float:
    """Read 30 or 0.5%; raises LinkError."""
    number = text.removesuffix("%")
    if not re.fullmatch(r"\d{1,3}(\.\d{1,4})?", number) or float(number) > 100:
        raise LinkError(f"--loss {text!r:.60}: want percent, 0 to 100, as 30 or 0.5%")
    return float(number)


def parse_rate(text: str) -> int:
    """Read 10mbit; raises LinkError."""
    found = _RATE.fullmatch(text)
    rate = int(float(found[1]) * _BITS[found[2]]) if found and len(text) < 30 else 0
    if not _LEAST_RATE <= rate <= _MOST_RATE:
        raise LinkError(f"--rate {text!r:.60}: want 8kbit to 100gbit, as 10mbit")
    return rate


def check_mtu(mtu: int, *, with_ipv6: bool) -> int:
    """Return an MTU that all the lab's families can use; raises LinkError."""
    least = _LEAST_MTU[6 if with_ipv6 else 4]
    if not least <= mtu <= _MOST_MTU:
        raise LinkError(f"--mtu {mtu}: want {least} to {_MOST_MTU} bytes")
    return mtu
