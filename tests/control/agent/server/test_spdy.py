"""SPDY/3.1: frames survive a round trip in pieces of any size; other bytes are refused."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.agent.server.spdy import (
    DICTIONARY,
    Data,
    Decoder,
    Encoder,
    Event,
    Opened,
    Ping,
    Reset,
    SpdyError,
)

NUMBERS = st.integers(1, 2**31 - 1)
WORDS = st.text(st.characters(codec="ascii", categories=("Ll", "Nd")), min_size=1, max_size=9)
EVENTS = st.lists(
    st.one_of(
        st.builds(Opened, NUMBERS, st.dictionaries(WORDS, WORDS, max_size=4)),
        st.builds(Data, NUMBERS, st.binary(max_size=50), st.booleans()),
        st.builds(Reset, NUMBERS),
        st.builds(Ping, NUMBERS),
    ),
    max_size=12,
)


def encode(events: list[Event]) -> bytes:
    encoder, frames = Encoder(), []
    for event in events:
        match event:
            case Opened():
                frames.append(encoder.opened(event.stream, event.headers))
            case Data():
                frames.append(encoder.data(event.stream, event.data, event.final))
            case Reset():
                frames.append(encoder.reset(event.stream))
            case Ping():
                frames.append(encoder.pong(event.number))
    return b"".join(frames)


@given(EVENTS, st.integers(1, 40))
def test_a_round_trip_in_any_pieces(events, step):
    data, decoder, found = encode(events), Decoder(), []
    for start in range(0, len(data), step):
        found += decoder.feed(data[start : start + step])
    assert found == events


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_incomplete(data):
    try:
        for _ in Decoder().feed(data):
            pass
    except SpdyError as err:
        assert str(err)


def test_the_dictionary_is_the_specifications():
    # Every zlib stream of SPDY/3 begins with this checksum of the dictionary (RFC 1950, DICTID).
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2
    assert Encoder().opened(1, {})[18:24] == bytes.fromhex("78bbe3c6a7c2")


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02\0\1" + b"\0\0\0\1" + b"x",  # SPDY/2
        b"\x80\x03\0\1" + b"\0\xff\xff\xff",  # too long a control frame
        b"\x80\x03\0\1" + b"\0\0\0\x0c" + b"\0" * 10 + b"no",  # headers that are not zlib
    ],
)
def test_invalid_frames_are_refused(data):
    with pytest.raises(SpdyError):
        list(Decoder().feed(data))


def test_frames_without_effect_are_ignored():
    settings, goaway = b"\x80\x03\0\x04\0\0\0\4\0\0\0\0", b"\x80\x03\0\x07\0\0\0\x08" + b"\0" * 8
    assert list(Decoder().feed(settings + goaway + encode([Ping(7)]))) == [Ping(7)]
