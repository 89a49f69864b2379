"""Two hundred commands of kubectl, and all that they print.

``commands.txt`` is the conversation. ``$`` begins a command, ``$*`` one that older kubectls run,
too (bin/test --all-kubectls: they run all), ``$34+`` one of kubectl 1.34 and later. Its output is
indented; ``!`` begins a line of standard error, ``?`` the exit code. ``…`` is any text in a line,
alone any number of lines; spaces count as one. DIR is ``manifests``; ``_`` in a schedule a space.

What reads is repeated until it shows what it should: controllers act a moment after a command.
"""

import asyncio
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.control.kubectls import KUBECTLS, Output
from tests.support.control.live import live_cluster

HERE = Path(__file__).parent
ALL = bool(os.environ.get("PODWIRE_ALL_KUBECTLS"))
READS = ("get", "describe", "events", "auth", "top")
_COMMAND = re.compile(r"\$(?P<short>\*?)(?:(?P<since>\d+)\+)? (?P<words>.*)")


@dataclass
class Command:
    """A command, which kubectls run it, and what it prints."""

    words: str
    short: bool
    since: int
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    code: int = 0

    def fits(self, done: Output) -> bool:
        shown = _fits(self.out, done.out) and _fits(self.err, done.err)
        return shown and done.code == self.code


def _fits(wanted: list[str], text: str) -> bool:
    """Compare lines; blank ones at the end do not count."""
    while wanted and not wanted[-1].strip():
        wanted = wanted[:-1]
    pattern = "".join(
        r"(?:.*\n)*?" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + r"\n"
        for line in map(_spaced, wanted)
    )
    lines = "".join(f"{_spaced(line)}\n" for line in text.rstrip("\n").splitlines())
    return re.fullmatch(pattern, lines) is not None


def _spaced(line: str) -> str:
    return " ".join(line.split())


def conversation() -> Iterator[Command]:
    found: Command | None = None
    for line in (HERE / "commands.txt").read_text().splitlines():
        if begins := _COMMAND.fullmatch(line):
            if found:
                yield found
            found = Command(begins["words"], bool(begins["short"]), int(begins["since"] or 0))
        elif found and line.startswith("! "):
            found.err.append(line[2:].replace("DIR", str(HERE / "manifests")))
        elif found and line.startswith("? "):
            found.code = int(line[2:])
        elif found and not line.startswith("#"):
            found.out.append(line)
    if found:
        yield found


COMMANDS = list(conversation())


def test_the_conversation_has_two_hundred_commands():
    assert len(COMMANDS) >= 200
    assert sum(command.short for command in COMMANDS) >= 25


def minor(program: Path) -> int:
    """Return the minor version of a kubectl by its name; the one on the PATH counts as old."""
    return int(program.suffix[1:]) if program.suffix[1:].isdigit() else 0


NEWEST = max(KUBECTLS, key=minor)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("program", KUBECTLS, ids=lambda path: path.name)
async def test_kubectl_prints_what_it_prints_with_upstream(program: Path, tmp_path: Path):
    whole = ALL or program == NEWEST
    chosen = [c for c in COMMANDS if (whole or c.short) and minor(program) >= c.since]
    wrong: list[str] = []
    async with live_cluster(tmp_path) as server:
        environment = os.environ | {"HOME": str(tmp_path), "KUBECONFIG": str(server.kubeconfig)}
        for command in chosen:
            done = await ran(program, command, environment, 0 if wrong else 60)
            if not command.fits(done):
                wrong.append(f"$ {command.words}\n{done.out}{done.err}? {done.code}")
    assert not wrong, "\n".join(wrong)


async def ran(program: Path, command: Command, env: dict[str, str], seconds: float) -> Output:
    """Run a command; one that reads is repeated for some seconds until its output fits."""
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    while True:
        done = await once(program, command.words, env)
        if command.fits(done) or clock() > end or command.words.split()[0] not in READS:
            return done


async def once(program: Path, words: str, env: dict[str, str]) -> Output:
    argv = [word.replace("DIR", str(HERE / "manifests")) for word in words.split(" ")]
    process = await asyncio.create_subprocess_exec(
        program,
        *[word.replace("_", " ") if word.startswith("--schedule") else word for word in argv],
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return Output(process.returncode or 0, out.decode(), err.decode())
