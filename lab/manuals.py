"""Writes the manual pages, ``podwire.1`` and one for each command, from what ``--help`` says.

``bin/setup`` runs it: python -m lab.manuals FOLDER.
"""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from click_man.core import generate_man_page

from control.version import PODWIRE
from lab.main import COMMANDS, SUMMARIES, load, main

_VERBATIM = re.compile(
    r"^\x08\n(.*?)(?=^\.|\Z)", re.MULTILINE | re.DOTALL
)  # click's "\b" paragraph


def write_pages(folder: Path) -> None:
    """Write the pages of all commands into ``folder``, and remove old ones; raises OSError.

    Each page is written whole, because other processes may read or write it at the same time. That
    of podwire itself is the last: by its age bin/manuals sees whether all of them are new.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = set()
    for name, text in reversed([*pages(click.Context(_whole(), info_name="podwire"))]):
        part = folder / f".{name}.{os.getpid()}"
        part.write_text(text)
        written.add(part.rename(folder / f"{name}.1"))
    for old in set(folder.glob("podwire*.1")) - written:
        old.unlink(missing_ok=True)


def pages(context: click.Context) -> Iterator[tuple[str, str]]:
    """Yield the name and the text (troff) of a command's page, and those of its subcommands."""
    command, path = context.command, context.command_path
    name = path.replace(" ", "-")
    below = command.commands if isinstance(command, click.Group) else {}
    for one in (command, *below.values()):
        one.short_help = one.get_short_help_str(limit=100)  # click-man's own limit is 45
    text: str = generate_man_page(context, version=PODWIRE)  # type: ignore[no-untyped-call]
    # click-man 0.6 calls the page of a subcommand "PODWIRE LAB", and refers to "podwire lab-up".
    text = text.replace(f'"{path.upper()}"', f'"{name.upper()}"')
    text = text.replace(rf"See \fB{path}-", rf"See \fB{name}-")
    yield name, _VERBATIM.sub(".nf\n\\1.fi\n", text)
    for part, subcommand in below.items():
        yield from pages(click.Context(subcommand, info_name=part, parent=context))


def _whole() -> click.Group:
    """Return the whole command with all parts, which ``lab.main`` imports only on demand."""
    parts = {name: load(name) for name in COMMANDS}
    for name, part in parts.items():
        part.short_help = SUMMARIES[name]
    return click.Group("podwire", parts, params=main.params, help=main.help)


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
