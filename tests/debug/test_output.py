"""What a Pod or a stranger's file names cannot steer a terminal, nor spoil a picture."""

import io
import json
from xml.etree.ElementTree import fromstring

import pytest
from msgspec.structs import replace
from rich.console import Console

from debug.map.svg import svg
from debug.map.text import draw
from debug.map.topology import topology
from debug.output import drawn, plain, say_json
from debug.trace.model import Hop, PacketTrace, Step, Trace
from debug.trace.text import lines
from debug.web import lanes
from tests.support.debug.healthy import HEALTHY

CLEAR, C1, TURNED, HALF = "\x1b[2J", "\x9b2J", "\u202e", "\udcff"
EVIL = f"{CLEAR}{C1}{TURNED}{HALF}<b>[red]"


def test_signs_that_steer_are_named_and_others_stay() -> None:
    assert plain(f"a → ✗ ü{CLEAR}\tb\n") == "a → ✗ ü\\u001b[2J\tb\n"
    assert plain(C1 + TURNED + HALF + "\U000e0001") == "\\u009b2J\\u202e\\udcff\\udb40\\udc01"


def test_json_is_still_what_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    text = CLEAR + C1 + TURNED
    say_json({"name": text})
    printed = capsys.readouterr().out
    assert printed.isascii() and json.loads(printed) == {"name": text}


def test_a_drawing_keeps_its_colors_and_no_other_sequence() -> None:
    space = HEALTHY.spaces[0]
    links = tuple(replace(one, name=EVIL) for one in space.state.links)
    graph = topology(
        replace(HEALTHY, spaces=(replace(space, state=replace(space.state, links=links)),))
    )
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    console.print(drawn(console, draw(graph)))
    printed = console.file.getvalue()
    assert "\x1b[" in printed and "\\u001b[2J" in printed
    assert not any(sign in printed for sign in (CLEAR, C1, TURNED, HALF))
    fromstring(svg(graph))  # noqa: S314  # our own


def test_a_trace_with_such_names_is_text_and_a_picture() -> None:
    hop = Hop("n", f"Pod {EVIL}", steps=(Step("out", link=EVIL), Step("rule", rule=EVIL)))
    trace = Trace(EVIL, "b", "", (PacketTrace(1, "forward", "TCP", hops=(hop,)),))
    assert CLEAR not in plain("\n".join(lines(trace, every=True)))
    fromstring(lanes.svg(trace))  # noqa: S314  # our own
