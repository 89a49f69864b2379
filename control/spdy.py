"""The part of SPDY/3.1 that streams of Kubernetes need: bytes in, events out, and back. No sockets.

Source: draft-mbelshe-httpbis-spdy-00 with SPDY/3.1's changes. There is no flow control, as in
kubectl and in upstream's servers (moby/spdystream): TCP's has to do.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_NAMES = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language "
    "accept-ranges age allow authorization cache-control connection content-base content-encoding "
    "content-language content-length content-location content-md5 content-range content-type date "
    "etag expect expires from host if-match if-modified-since if-none-match if-range "
    "if-unmodified-since last-modified location max-forwards pragma proxy-authenticate "
    "proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status"
)
_MORE_NAMES = (
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
)
_VALUES = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request"
    "401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented"
    "503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 "
    "Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,"
    "application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age="
    "gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _word(text: str) -> bytes:
    return struct.pack("!I", len(text)) + text.encode()


# Section 2.6.10.1: the preset dictionary of both sides' zlib.
DICTIONARY = b"".join(_word(name) for name in (*_NAMES.split(), *_MORE_NAMES)) + _VALUES.encode()

_CONTROL = 0x80030000
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING = 1, 2, 3, 6
_FIN = 1
_MOST_CONTROL = 64 * 1024
_MOST_HEADERS = 64 * 1024  # of one frame, inflated
_PIECE = 32 * 1024
_CANCEL = 5


class SpdyError(ValueError):
    """The bytes are not SPDY/3.1; the connection cannot go on."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A new stream; header names are in lower case."""

    stream: int
    headers: Mapping[str, str]
    final: bool = False


@dataclass(frozen=True, slots=True)
class Data:
    """A piece of a stream; ``final`` is True for the sender's last piece."""

    stream: int
    data: bytes
    final: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """The end of a stream that was given up."""

    stream: int


@dataclass(frozen=True, slots=True)
class Ping:
    """A ping, to be answered with the same number."""

    number: int


Event = Opened | Data | Reset | Ping


class Decoder:
    """Turns bytes, in pieces of any size, into events.

    It keeps at most one control frame (64 KiB); data passes through in pieces of at most 32 KiB,
    however long its frame is.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._last = 0  # the stream that was opened last
        self._stream, self._final, self._missing = 0, False, 0  # of the data frame in transit

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield the events that these bytes complete; raises SpdyError."""
        self._buffer += data
        while self._buffer if self._missing else len(self._buffer) >= 8:
            if self._missing:
                yield self._piece()
                continue
            word, rest = struct.unpack_from("!II", self._buffer)
            flags, length = rest >> 24, rest & 0xFFFFFF
            if word & 0x80000000:
                if (body := self._body(length)) is None:
                    return
                event = self._control(word, flags, body)
            else:
                event = self._begin(word, bool(flags & _FIN), length)
            if event is not None:
                yield event

    def _begin(self, stream: int, final: bool, length: int) -> Data | None:
        """Begin a data frame; return an event if it has no data."""
        del self._buffer[:8]
        self._stream, self._final, self._missing = stream, final, length
        return None if length else Data(stream, b"", final)

    def _piece(self) -> Data:
        data = bytes(self._buffer[: min(self._missing, _PIECE)])
        del self._buffer[: len(data)]
        self._missing -= len(data)
        return Data(self._stream, data, self._final and not self._missing)

    def _body(self, length: int) -> bytes | None:
        """Take a control frame's body from the buffer, if it is complete."""
        if length > _MOST_CONTROL:
            raise SpdyError(f"control frame of {length} bytes: want at most {_MOST_CONTROL}")
        if len(self._buffer) < 8 + length:
            return None
        body = bytes(self._buffer[8 : 8 + length])
        del self._buffer[: 8 + length]
        return body

    def _control(self, word: int, flags: int, body: bytes) -> Event | None:
        if word & 0xFFFF0000 != _CONTROL:
            raise SpdyError(f"SPDY version {word >> 16 & 0x7FFF}: want 3")
        kind = word & 0xFFFF
        if kind == _SYN_STREAM and len(body) >= 10:
            headers = self._headers(body[10:])
            return self._opened(_number(body), headers, bool(flags & _FIN))
        if kind == _RST_STREAM and len(body) == 8:
            return Reset(_number(body))
        if kind == _PING and len(body) == 4:
            return Ping(int.from_bytes(body))
        return None  # SETTINGS, GOAWAY and the like need no action

    def _opened(self, stream: int, headers: dict[str, str], final: bool) -> Opened:
        if stream <= self._last:  # section 2.3.2
            raise SpdyError(f"stream {stream} is opened after stream {self._last}")
        self._last = stream
        return Opened(stream, headers, final)

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            text = self._inflate.decompress(block, _MOST_HEADERS + 1)
            if len(text) > _MOST_HEADERS:
                raise SpdyError(f"headers: more than {_MOST_HEADERS} bytes")
            return dict(_pairs(text))
        except (zlib.error, struct.error, UnicodeDecodeError) as err:
            raise SpdyError(f"headers: {err}") from err


def _number(body: bytes) -> int:
    return int.from_bytes(body[:4]) & 0x7FFFFFFF


def _pairs(text: bytes) -> Iterator[tuple[str, str]]:
    count, position = struct.unpack_from("!I", text)[0], 4
    for _ in range(count):
        name, position = _text(text, position)
        value, position = _text(text, position)
        yield name.lower(), value


def _text(text: bytes, position: int) -> tuple[str, int]:
    """Return the word at a position, and the position after it."""
    start = position + 4
    end = start + struct.unpack_from("!I", text, position)[0]
    if end > len(text):
        raise SpdyError("headers: a name or value is cut short")
    return text[start:end].decode(), end


class Encoder:
    """Turns frames into bytes."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def opened(self, stream: int, headers: Mapping[str, str]) -> bytes:
        """Return the frame that begins a stream."""
        body = struct.pack("!IIH", stream, 0, 0) + self._headers(headers)
        return _control(_SYN_STREAM, body)

    def accepted(self, stream: int) -> bytes:
        """Return the frame that accepts a stream."""
        return _control(_SYN_REPLY, struct.pack("!I", stream) + self._headers({}))

    def data(self, stream: int, data: bytes, final: bool = False) -> bytes:
        """Return a data frame; the piece must be shorter than 16 MiB."""
        return struct.pack("!II", stream, (_FIN if final else 0) << 24 | len(data)) + data

    def reset(self, stream: int) -> bytes:
        """Return the frame that gives a stream up."""
        return _control(_RST_STREAM, struct.pack("!II", stream, _CANCEL))

    def pong(self, number: int) -> bytes:
        """Return the answer to a ping."""
        return _control(_PING, struct.pack("!I", number))

    def _headers(self, headers: Mapping[str, str]) -> bytes:
        pairs = b"".join(_word(name) + _word(value) for name, value in headers.items())
        text = struct.pack("!I", len(headers)) + pairs
        return self._deflate.compress(text) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def _control(kind: int, body: bytes) -> bytes:
    return struct.pack("!II", _CONTROL | kind, len(body)) + body
