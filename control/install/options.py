"""What the commands of this folder have in common: options, errors, durations, tables."""

import errno
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import click

from control.client import ClientError, KubeconfigError
from control.install.layout import InstallError
from control.install.progress import Progress
from control.jointokens import TokenError

HELP = {"help_option_names": ["-h", "--help"]}
output_option = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True
)
_UNITS = {"s": 1, "m": 60, "h": 3600}
_LONGEST = timedelta(days=36500)


@contextmanager
def reported(command: str) -> Iterator[None]:
    """Report what fails in one line, and end with 1."""
    try:
        yield
    except (InstallError, ClientError, KubeconfigError, TokenError) as err:
        sys.exit(f"podwire {command}: {err}")
    except OSError as err:
        where = f"{err.filename}: " if err.filename else ""
        remedy = "; make room, then run this again" if err.errno == errno.ENOSPC else ""
        sys.exit(f"podwire {command}: {where}{err.strerror or err}{remedy}")


def require_root() -> None:
    """Raise InstallError unless this process is root's."""
    if os.geteuid() != 0:
        raise InstallError("this needs root: run it with sudo")


def progress_of(output: str) -> Progress:
    """Return who says what is done: nobody beside JSON."""
    return Progress(quiet=output == "json")


def table(lines: Sequence[tuple[str, ...]]) -> str:
    """Return lines of cells, the first of which is the head, as columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "   ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def life(text: str) -> timedelta:
    """Read a Go duration such as 24h0m0s, or 0; a hundred years at most. Raises InstallError."""
    if text == "0":
        return timedelta()
    if not re.fullmatch(r"(\d{1,9}[smh]){1,3}", text):
        raise InstallError(f"{text[:40]!r} is no time: write it as 30m, 24h or 0")
    parts = re.findall(r"(\d+)([smh])", text)
    made = timedelta(seconds=sum(int(number) * _UNITS[unit] for number, unit in parts))
    if made > _LONGEST:
        raise InstallError(f"{text} is longer than 100 years: 0 is without an end")
    return made
