"""SPDY/3.1: frames survive a round trip in pieces of any size; other bytes are refused."""

import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.spdy import (
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
EVENTS = st.lists(  # a frame of data may come in several events; streams are opened in order
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
    sent = in_order(events)
    data, decoder, found = encode(sent), Decoder(), []
    for start in range(0, len(data), step):
        found += decoder.feed(data[start : start + step])
    assert joined(found) == joined(sent)


def in_order(events: list[Event]) -> list[Event]:
    """Return the events with ascending numbers of opened streams."""
    numbers = iter(range(1, 2 * len(events), 2))
    return [replace(it, stream=next(numbers)) if isinstance(it, Opened) else it for it in events]


def joined(events: list[Event]) -> list[Event]:
    """Return the events with neighboring pieces of one stream's data as one."""
    found: list[Event] = []
    for event in events:
        last = found[-1] if found else None
        if isinstance(event, Data) and isinstance(last, Data) and goes_on(last, event):
            found[-1] = Data(event.stream, last.data + event.data, event.final)
        else:
            found.append(event)
    return found


def goes_on(last: Data, event: Data) -> bool:
    return last.stream == event.stream and not last.final


def test_data_passes_before_its_frame_is_complete():
    frame, decoder = Encoder().data(1, bytes(100_000), final=True), Decoder()
    first = list(decoder.feed(frame[:70_000]))
    assert sum(len(it.data) for it in first) == 70_000 - 8
    assert max(len(it.data) for it in first) == 32 * 1024
    assert not any(it.final for it in first)
    rest = list(decoder.feed(frame[70_000:]))
    assert rest[-1].final
    assert sum(len(it.data) for it in rest) == 30_008


def deflated(text: bytes) -> bytes:
    deflate = zlib.compressobj(zdict=DICTIONARY)
    return deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH)


def opening(block: bytes, stream: int = 1) -> bytes:
    body = stream.to_bytes(4) + bytes(6) + block
    return b"\x80\x03\0\1" + len(body).to_bytes(4) + body


@pytest.mark.parametrize(
    "text",
    [
        b"\0\0\0\1" + b"\0\0\0\1" + b"a" + b"\0\1\0\0" + bytes(65_536),  # over 64 KiB
        b"\0\0\0\1" + b"\0\0\0\1" + b"a" + b"\0\0\0\x09" + b"short",
        b"\0\0\0\2" + b"\0\0\0\1" + b"a" + b"\0\0\0\1" + b"b",  # one of two
        b"\xff\xff\xff\xff",
        b"\0\0\0\1" + b"\0\0\0\1" + b"a" + b"\0\0\0\1" + b"\xff",  # not UTF-8
        b"",
    ],
    ids=len,
)
def test_invalid_headers_are_refused(text):
    with pytest.raises(SpdyError, match="headers"):
        list(Decoder().feed(opening(deflated(text))))


def test_headers_of_64_kibibytes_are_taken():
    value = "x" * (65_536 - 13)
    frame = Encoder().opened(1, {"a": value})
    assert list(Decoder().feed(frame)) == [Opened(1, {"a": value})]


@pytest.mark.parametrize("second", [1, 3])
def test_a_stream_that_is_opened_out_of_order_is_refused(second):
    encoder, decoder = Encoder(), Decoder()
    list(decoder.feed(encoder.opened(3, {})))
    with pytest.raises(SpdyError, match="is opened after stream 3"):
        list(decoder.feed(encoder.opened(second, {})))


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
