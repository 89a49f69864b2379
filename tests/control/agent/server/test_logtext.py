"""From lines in the CRI format to the output of ``kubectl logs``."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.agent.server.errors import HttpError
from control.agent.server.logfile import LogFile
from control.agent.server.logtext import (
    Options,
    Renderer,
    parse,
    parse_options,
    tail_start,
)
from control.api.times import nanoseconds_of

TIME = b"2026-11-22T13:00:00.%09dZ"
WORDS = st.binary(max_size=20).filter(lambda text: b"\n" not in text)


def line(text: bytes, tag: bytes = b"F", stream: bytes = b"stdout", at: int = 0) -> bytes:
    return b" ".join((TIME % at, stream, tag, text))


def show(lines: list[bytes], **options: object) -> bytes:
    return Renderer(Options(**options)).render(lines)  # type: ignore[arg-type]


def test_parts_of_a_line_are_joined():
    assert show([line(b"a", b"P"), line(b"b", b"P"), line(b"c"), line(b"d")]) == b"abc\nd\n"


def test_a_line_of_many_parts_has_one_timestamp():
    text = show([line(b"a", b"P"), line(b"b"), line(b"c", at=7)], timestamps=True)
    assert text == TIME % 0 + b" ab\n" + TIME % 7 + b" c\n"


@pytest.mark.parametrize("junk", [b"", b"x", b"a b", b"t stdout X text", b"t stdin F text", b"\0"])
def test_invalid_lines_are_left_out(junk):
    assert parse(junk) is None
    assert show([line(b"a"), junk, line(b"b")]) == b"a\nb\n"


def test_tags_may_carry_more_than_the_first_letter():
    assert show([line(b"a", b"P:x"), line(b"b", b"F:x:y")]) == b"ab\n"


@pytest.mark.parametrize(
    ("since", "shown"),
    [(0, b"a\nb\nc\n"), (5, b"b\nc\n"), (6, b"c\n"), (9, b"c\n"), (10, b"")],
)
def test_since_counts_nanoseconds(since, shown):
    lines = [line(b"a", at=1), line(b"b", at=5), line(b"c", at=9)]
    base = nanoseconds_of("2026-11-22T13:00:00Z")
    assert show(lines, since=base + since) == shown


def test_times_with_a_zone_are_compared_as_times():
    local = b"2026-11-22T14:00:00.000000005+01:00 stdout F x"
    base = nanoseconds_of("2026-11-22T13:00:00Z")
    assert show([local], since=base + 5) == b"x\n"
    assert show([local], since=base + 6) == b""


@given(st.lists(WORDS, max_size=8), st.integers(1, 60), st.integers(1, 4))
def test_limit_cuts_the_text_to_the_byte(texts, limit, step):
    lines = [line(text) for text in texts]
    whole = show(lines)
    renderer = Renderer(Options(limit=limit))
    cut = b"".join(renderer.render(lines[i : i + step]) for i in range(0, len(lines), step))
    assert cut == whole[:limit]
    assert renderer.full == (len(whole) >= limit)


PIECES = st.lists(st.tuples(WORDS, st.sampled_from([b"P", b"F"])), max_size=30)


@given(PIECES, st.integers(0, 12))
def test_tail_shows_the_last_lines_of_output(pieces, count):
    lines = [line(text, tag) for text, tag in pieces]
    data = b"".join(it + b"\n" for it in lines)
    ends = [len(b"".join(it + b"\n" for it in lines[:n])) for n in range(len(lines) + 1)]
    backwards = [(end, text) for end, text in zip(ends[1:], lines, strict=True)][::-1]
    start, missing = tail_start(backwards, count) if count else (len(data), 0)
    wanted = output_lines(pieces)[-count:] if count else []
    assert show(data[start:].split(b"\n")) == b"".join(wanted)
    assert missing == count - len(wanted)


def output_lines(pieces: list[tuple[bytes, bytes]]) -> list[bytes]:
    """Return the written text by lines; the last may be incomplete."""
    lines, inside = [], False
    for text, tag in pieces:
        end = b"\n" if tag == b"F" else b""
        if inside:
            lines[-1] += text + end
        else:
            lines.append(text + end)
        inside = tag == b"P"
    return lines


@given(
    texts=st.lists(WORDS, max_size=40), count=st.integers(0, 50), cuts=st.sets(st.integers(0, 39))
)
def test_tail_reaches_over_rotated_files(tmp_path_factory, texts, count, cuts):
    path = tmp_path_factory.mktemp("log") / "0.log"
    path.touch()
    for number, text in enumerate(texts):
        if number in cuts:
            path.rename(f"{path}.20261122-{number:06d}")
        with path.open("ab") as file:
            file.write(line(text) + b"\n")
    log = LogFile(path)
    log.seek_tail(count)
    found = []
    while lines := log.read():
        found += lines
    log.close()
    assert (
        found == [line(text) for text in texts][len(texts) - count if count < len(texts) else 0 :]
    )


def test_options_are_those_of_kubelet():
    query = {"follow": "true", "previous": "false", "timestamps": "1", "tailLines": "0"}
    assert parse_options(query, 0) == Options(follow=True, timestamps=True, tail=0)
    assert parse_options({"sinceSeconds": "2", "limitBytes": "9"}, 5_000_000_000) == Options(
        since=3_000_000_000, limit=9
    )
    moment = parse_options({"sinceTime": "1970-01-01T01:00:01+01:00"}, 0)
    assert moment == Options(since=1_000_000_000)


@pytest.mark.parametrize(
    "query",
    [
        {"tailLines": "-1"},
        {"tailLines": "x"},
        {"limitBytes": "0"},
        {"sinceSeconds": "0"},
        {"sinceTime": "yesterday"},
        {"sinceTime": "2026-11-22T13:00:00"},
        {"sinceTime": "2026-11-22T13:00:00Z", "sinceSeconds": "1"},
    ],
)
def test_invalid_options_are_refused_by_name(query):
    with pytest.raises(HttpError, match=next(iter(query))) as caught:
        parse_options(query, 0)
    assert caught.value.code == 400
