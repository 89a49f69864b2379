"""Reads rows of iptables-save: chains, conditions, targets. Pure.

A row whose conditions are not all understood says so, so that nothing is guessed.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_network

from proxy.model.values import Network

_WITH_VALUE = {"-s", "-d", "-i", "-o", "-p"}
_PASSED_OVER = {"-m": 1, "--comment": 1, "-c": 2}
_MOST_JUMPS = 20


@dataclass(frozen=True)
class Row:
    """One rule. ``others`` are conditions beside addresses, links and the protocol."""

    text: str
    tests: dict[str, str] = field(default_factory=dict)  # "-s": "10.0.0.0/8", "! -d": ...
    others: tuple[str, ...] = ()
    target: str = ""
    rest: tuple[str, ...] = ()  # the target's options


def parse(text: str) -> Row:
    """Parse a rule's words, without its chain's name."""
    try:
        words = shlex.split(text)
    except ValueError:
        return Row(text, others=(text,))
    tests: dict[str, str] = {}
    others: list[str] = []
    negated = ""
    while words:
        word = words.pop(0)
        if word == "!":
            negated = "! "
            continue
        if word in ("-j", "-g"):
            target, *rest = words or [""]
            return Row(text, tests, tuple(others), target, tuple(rest))
        if word in _WITH_VALUE and words:
            tests[f"{negated}{word}"] = words.pop(0)
        elif word in _PASSED_OVER:
            del words[: _PASSED_OVER[word]]
        else:
            others.append(f"{negated}{word}")
        negated = ""
    return Row(text, tests, tuple(others))


class Table:
    """One table of iptables-save's output."""

    def __init__(self, text: str, name: str) -> None:
        self.policies: dict[str, str] = {}
        self._rows: dict[str, list[str]] = {}
        current = ""
        for line in text.splitlines():
            if line.startswith("*"):
                current = line[1:]
            elif current != name:
                continue
            elif line.startswith(":"):
                chain, policy, *_ = line[1:].split()
                self.policies[chain] = policy
            elif line.startswith("-A "):
                _, chain, *rest = line.split(" ", 2)
                self._rows.setdefault(chain, []).extend(rest)

    def rows(self, chain: str) -> Iterator[Row]:
        """The rules of a chain."""
        return map(parse, self._rows.get(chain, ()))

    def accepts(
        self, chain: str, side: str, net: Network, link: str, depth: int = 0
    ) -> bool | None:
        """Return whether a chain accepts new packets of a network; None if that is not plain.

        ``side`` is -s with the link of -i, or -d with that of -o.
        """
        doubtful = depth > _MOST_JUMPS
        for row in self.rows(chain):
            certain = is_about(row, side, net, link)
            if certain is False or row.target in ("", "DROP", "REJECT", "LOG", "RETURN", "MARK"):
                continue
            if row.target == "ACCEPT":
                inner: bool | None = True
            else:
                inner = (
                    self.accepts(row.target, side, net, link, depth + 1) if not doubtful else None
                )
            if inner and certain:
                return True
            doubtful = doubtful or inner is not False
        return None if doubtful else False


def is_about(row: Row, side: str, net: Network, link: str) -> bool | None:
    """True if a row is about all new packets of a network, False if surely not, None if unclear."""
    if any(word in row.text for word in ("ESTABLISHED", "--mark", "INVALID")):
        return False  # of what was admitted, or marked, before
    other = {"-s": "-i", "-d": "-o"}[side]
    for name, value in row.tests.items():
        if name == side:
            if not _is_within(net, value):
                return False
        elif name == other:
            if value.rstrip("+") != link and not (
                value.endswith("+") and link.startswith(value[:-1])
            ):
                return False
        else:
            return None
    return None if row.others else True


def _is_within(net: Network, text: str) -> bool:
    try:
        outer = ip_network(text, strict=False)
    except ValueError:
        return False
    return net.version == outer.version and net.subnet_of(outer)  # type: ignore[arg-type]
