"""Warning headers: each text once, and within the limits of upstream's recorder."""

import pytest

from control.server.wire.response import warning_headers


def texts(*warnings: str) -> list[str]:
    lines = warning_headers(warnings)
    assert {name for name, _ in lines} <= {"Warning"}
    return [line.removeprefix('299 - "').removesuffix('"') for _, line in lines]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["a", "b", "a", ""], ["a", "b"]),
        (["a" * 4096], ["a" * 4096]),
        (["a" * 4097], ["a" * 256]),
        (["a" * 300, "b" * 300], ["a" * 300, "b" * 300]),
        (["a" * 4000, "b" * 300], ["a" * 256, "b" * 256]),
    ],
    ids=["once", "long", "too long", "two long", "too long together"],
)
def test_texts_are_cut_only_if_all_are_too_long(given: list[str], kept: list[str]):
    assert texts(*given) == kept


def test_what_begins_beyond_the_limit_is_left_out():
    assert len(texts(*(f"{n:05}" + "x" * 300 for n in range(100)))) == 16
    assert len(texts(*(f"{n:03}" for n in range(100)))) == 100


def test_a_text_stays_one_line():
    accent = "\N{LATIN SMALL LETTER E WITH ACUTE}"
    assert texts(f'a"b\\c\r\nd{accent}\x00\x85\ud800') == [f'a\\"b\\\\c??d{accent}???']
