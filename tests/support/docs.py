"""The commands of a page of documentation, and what they print: parsed and compared. Pure.

A block of commands is fenced as ``console``. A line that begins with ``$ `` is a command, ``> ``
continues it, and the other lines are the output to expect. In the output ``…`` stands for any text
in a line, and a line of ``…`` alone for any number of lines. A command without output to expect
may print anything. Comments of HTML say what a reader need not see:

    <!-- world: lab -->         once a page: where its commands run (tests/e2e/test_docs.py)
    <!-- not run: REASON -->    the next block is not run
    <!-- stop after 2 s -->     each command of the next block is ended after that time
    <!-- before: COMMAND -->    run before the next block
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

ANYTHING = "…"
# Languages of blocks that hold no commands.
OTHER_LANGUAGES = frozenset({"text", "json", "yaml", "python", "ini", "toml", "c"})

_FENCE = re.compile(r"\s*```(\S*)\s*$")
_DIRECTIVE = re.compile(r"\s*<!-- (world|not run|stop after|before): ?(.*?) -->\s*$")
_STOP = re.compile(r"\s*<!-- stop after (\d+) s -->\s*$")


@dataclass(frozen=True)
class Command:
    """One command as it stands on a page. ``stop_after`` is in seconds, 0 if it ends by itself."""

    line: int
    text: str
    output: tuple[str, ...] = ()
    not_run: str = ""
    stop_after: int = 0


@dataclass(frozen=True)
class Page:
    """The commands of a page, in order; ``faults`` says what of it cannot be read."""

    world: str
    commands: tuple[Command, ...]
    faults: tuple[str, ...]


def read_page(text: str) -> Page:
    """Parse a page of Markdown."""
    world, commands, faults = "", list[Command](), list[str]()
    pending: dict[str, str] = {}
    for number, line, block in _blocks(text):
        if block is None:
            pending |= _directive(line)
            world = pending.pop("world", world)
            continue
        language, body = block
        if language == "console":
            commands += _commands(number, body, pending)
        elif language not in OTHER_LANGUAGES:
            faults.append(f"line {number}: a block of {language or 'no language'}")
        pending = {}
    if commands and not world:
        faults.append("it has commands, and no comment 'world: …'")
    return Page(world, tuple(commands), tuple(faults))


def _blocks(text: str) -> Iterator[tuple[int, str, tuple[str, list[str]] | None]]:
    """Yield each line outside of blocks, and each block once, with the number of its first line."""
    body: list[str] = []
    language, begin = None, 0
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if language is None and fence:
            language, begin, body = fence[1], number, []
        elif language is not None and fence and not fence[1]:
            yield begin, "", (language, body)
            language = None
        elif language is not None:
            body.append(line.strip("\n"))
        else:
            yield number, line, None


def _directive(line: str) -> dict[str, str]:
    if stop := _STOP.match(line):
        return {"stop after": stop[1]}
    found = _DIRECTIVE.match(line)
    return {found[1]: found[2]} if found else {}


def _commands(begin: int, body: Sequence[str], pending: dict[str, str]) -> Iterator[Command]:
    not_run, stop = pending.get("not run", ""), int(pending.get("stop after", 0))
    if before := pending.get("before"):
        yield Command(begin, before)
    texts: list[tuple[int, list[str], list[str]]] = []
    for number, line in enumerate(body, begin + 1):
        if line.startswith("$ "):
            texts.append((number, [line[2:]], []))
        elif line.startswith("> ") and texts and not texts[-1][2]:
            texts[-1][1].append(line[2:])
        elif texts:
            texts[-1][2].append(line.rstrip())
    for number, lines, output in texts:
        while output and not output[-1]:
            output.pop()
        yield Command(number, "\n".join(lines), tuple(output), not_run, stop)


def fits(expected: Sequence[str], printed: Sequence[str]) -> bool:
    """True if what was printed is what the page shows."""
    pattern = "".join(_line_pattern(line) for line in expected)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed)) is not None


def _line_pattern(line: str) -> str:
    if line.strip() == ANYTHING:
        return r"(?:.*\n)*?"
    # A column is as wide as its longest value: any number of blanks is as good as another.
    words = re.split(r"( {2,}|…)", line)
    made = {ANYTHING: ".*?"}
    return "".join(made.get(w, r" {2,}" if w.isspace() else re.escape(w)) for w in words) + r" *\n"
