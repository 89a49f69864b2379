"""Long WebSocket messages come in pieces; all else as it was sent."""

import random
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.agent.server.pieces import Frame, Pieces, parse, unmasked

MOST = 32 * 1024 * 1024
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9


class Parser:
    """A parser that keeps the frames that it is fed, one at a time."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, bytes]] = []
        self.largest = 0

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.largest = max(self.largest, len(data))
        frame = parse(data)
        assert frame is not None
        payload = data[frame.size : frame.size + frame.length]
        self.frames.append((frame.first, unmasked(bytes(payload), frame.mask, 0)))
        return False, b""

    def feed_eof(self) -> None:
        self.frames.append((0, b"end"))


def frame(first: int, payload: bytes, mask: bytes = b"abcd") -> bytes:
    """Encode one frame with the shortest length that fits."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, size)
    return head + mask + unmasked(payload, mask, 0)


def fed(data: bytes, cuts: list[int], head: int = 1) -> Parser:
    parser = Parser()
    pieces = Pieces(parser, head, MOST)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        assert pieces.feed_data(data[start:end]) == (False, b"")
    return parser


_MESSAGE = st.tuples(
    st.sampled_from([0, 1, 5, 125, 126, 40_000, 70_000, 200_000]),
    st.integers(1, 4),  # frames
    st.booleans(),  # a ping between them
)


@given(st.lists(_MESSAGE, max_size=5), st.lists(st.integers(0), max_size=8), st.booleans())
def test_a_stream_is_the_same_in_pieces(messages, cuts, is_channelled):
    rest = random.Random(1)
    wire, expected, pings = b"", b"", 0
    for size, parts, pinged in messages:
        data = rest.randbytes(size)
        message = b"\x00" + data if is_channelled else data
        expected += data
        bounds = [len(message) * at // parts for at in range(parts + 1)]
        for at in range(parts):
            first = (BINARY if at == 0 else 0) | (0x80 if at == parts - 1 else 0)
            wire += frame(first, message[bounds[at] : bounds[at + 1]])
            wire += frame(0x80 | PING, b"?") if pinged else b""
            pings += pinged
    parser = fed(wire, cuts, head=int(is_channelled))
    got = [(first & 15, payload) for first, payload in parser.frames]
    data = [payload for kind, payload in got if kind == BINARY]
    assert b"".join(part[is_channelled:] for part in data) == expected
    assert not is_channelled or all(part[:1] == b"\0" for part in data)
    assert len([1 for kind, _ in got if kind == PING]) == pings
    assert parser.largest <= 32 * 1024 + 11


def test_pieces_of_base64_can_be_decoded():
    parser = fed(frame(0x80 | TEXT, b"0" + b"QUJD" * 50_000), [])
    assert len(parser.frames) > 5
    for first, payload in parser.frames:
        assert first == 0x80 | TEXT and payload[:1] == b"0" and len(payload) % 4 == 1


@pytest.mark.parametrize(
    "wrong",
    [
        frame(0xC0 | BINARY, b"compressed"),
        frame(0x80, b"goes on, but nothing began"),
        struct.pack("!BBQ4s", 0x80 | BINARY, 0xFF, MOST, b"abcd"),
        struct.pack("!BBQ4s", 0x80 | BINARY, 0xFF, 2**63, b"abcd"),
        struct.pack("!BBH4s", 0x80 | PING, 0xFE, 126, b"abcd"),
    ],
)
def test_errors_are_left_to_the_parser_behind(wrong: bytes):
    parser = fed(frame(0x80 | BINARY, b"\0fine") + wrong, [])
    assert parser.frames[0] == (0x80 | BINARY, b"\0fine")
    assert parser.frames[1][0] == wrong[0]
    parser = Parser()
    pieces = Pieces(parser, 1, MOST)
    pieces.feed_data(wrong)
    pieces.feed_data(wrong)  # what follows goes straight to it
    pieces.feed_eof()
    assert len(parser.frames) == 3


def test_a_message_of_many_frames_has_a_limit():
    parser = Parser()
    pieces = Pieces(parser, 1, 1000)
    pieces.feed_data(frame(BINARY, b"\0" * 600))
    pieces.feed_data(frame(0, b"\0" * 600)[:8])
    (first, _), *_ = parser.frames
    assert first & 15 == BINARY and len(parser.frames) == 1


def test_a_message_inside_of_another_is_an_error():
    parser = fed(frame(BINARY, b"\0half") + frame(0x80 | BINARY, b"\0new"), [])
    assert parser.frames == [(0x80, b"")]  # a continuation of nothing


@pytest.mark.parametrize("data", [b"", b"\x82", b"\x82\xff\0\0", b"\x82\xfe\0\x7fab"])
def test_half_a_header_is_waited_for(data: bytes):
    assert parse(data) is None
    assert parse(b"\x82\x03") == Frame(0x82, 2, 3, bytes(4))
