"""Hands on the large messages of a WebSocket in pieces, so that nobody holds a whole one.

A message of exec, attach or port-forward is a part of a stream: its borders mean nothing. aiohttp
collects a message before it gives it out, which are 32 MiB in several copies. ``Pieces`` stands
before aiohttp's parser and makes of each long message several short ones (RFC 6455, section 5.2).
"""

import struct
from dataclasses import dataclass
from typing import Protocol

_PIECE = 32 * 1024  # bytes of data in a message that is made; base64 needs a multiple of 4
_FIN, _RSV, _OPCODE, _MASKED, _LENGTH = 0x80, 0x70, 0x0F, 0x80, 0x7F
_CONTINUATION, _BINARY, _CONTROL = 0, 2, 8


class Inner(Protocol):
    """The parser behind, as aiohttp has it."""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take bytes of the connection."""

    def feed_eof(self) -> None:
        """Take the end of the connection."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The header of a frame; ``size`` is its own, ``length`` that of the payload."""

    first: int
    size: int
    length: int
    mask: bytes

    @property
    def opcode(self) -> int:
        return self.first & _OPCODE

    @property
    def final(self) -> bool:
        return bool(self.first & _FIN)


def parse(data: bytes | bytearray) -> Frame | None:
    """Return the header at the beginning of data; None if it is not complete."""
    if len(data) < 2:
        return None
    short = data[1] & _LENGTH
    size = 2 + {126: 2, 127: 8}.get(short, 0)
    masked = bool(data[1] & _MASKED)
    if len(data) < size + 4 * masked:
        return None
    length = short if short < 126 else int.from_bytes(data[2:size])
    mask = bytes(data[size : size + 4]) if masked else bytes(4)
    return Frame(data[0], size + 4 * masked, length, mask)


class Pieces:
    """Takes the bytes of a connection, and feeds messages of at most 32 KiB to the parser behind.

    ``head`` is the number of bytes at the beginning of a message that each piece needs, too: one
    that names the channel, or none. Errors are left to the parser behind, which sees the frame.
    """

    def __init__(self, inner: Inner, head: int, most: int) -> None:
        self._inner, self._head, self._most = inner, head, most
        self._buffer = bytearray()
        self._frame: Frame | None = None  # of which some payload has not come
        self._missing, self._phase = 0, 0  # bytes of its payload; bytes of it that have come
        self._kind, self._total = 0, 0  # of the message: its opcode, and its length so far
        self._data = bytearray()  # of the message: its head, and what is not fed yet
        self._is_broken = False

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take bytes, as aiohttp's parsers do."""
        if self._is_broken:
            return self._inner.feed_data(data)
        self._buffer += data
        while self._step():
            pass
        if self._is_broken:
            return self._inner.feed_data(bytes(self._buffer))
        return False, b""

    def feed_eof(self) -> None:
        """Take the end of the connection."""
        self._inner.feed_eof()

    def _step(self) -> bool:
        """Take a header or some payload from the buffer; False if there is nothing to take."""
        if self._frame is not None:
            return self._take_payload(self._frame)
        frame = parse(self._buffer)
        if frame is None:
            return False
        if frame.opcode >= _CONTROL:
            return self._pass_on(frame)
        return self._begin(frame)

    def _pass_on(self, frame: Frame) -> bool:
        """Hand on a control frame; a long one is an error, which the parser behind finds."""
        end = frame.size + frame.length
        self._is_broken = frame.length >= 126
        if self._is_broken or len(self._buffer) < end:
            return False
        self._inner.feed_data(bytes(self._buffer[:end]))
        del self._buffer[:end]
        return True

    def _begin(self, frame: Frame) -> bool:
        is_new = frame.opcode != _CONTINUATION
        self._total = frame.length + (0 if is_new else self._total)
        is_misplaced = is_new == bool(self._kind)
        if frame.first & _RSV or is_misplaced or self._total >= self._most:
            self._is_broken = True
            self._show_error(is_misplaced=is_new and bool(self._kind))
            return False
        self._kind = frame.opcode or self._kind
        self._frame, self._missing, self._phase = frame, frame.length, 0
        del self._buffer[: frame.size]
        return True

    def _show_error(self, *, is_misplaced: bool) -> None:
        """Let the parser behind find the error in a message of which it has seen nothing yet."""
        if self._total >= self._most:
            self._buffer[:] = struct.pack("!BBQ", _FIN | (self._kind or _BINARY), 127, self._total)
        elif is_misplaced:
            self._buffer[:] = bytes([_FIN | _CONTINUATION, 0])

    def _take_payload(self, frame: Frame) -> bool:
        taken = bytes(self._buffer[: self._missing])
        if not taken and self._missing:
            return False
        del self._buffer[: len(taken)]
        self._data += unmasked(taken, frame.mask, self._phase)
        self._missing -= len(taken)
        self._phase = (self._phase + len(taken)) % 4
        is_complete = not self._missing
        self._feed(final=is_complete and frame.final)
        if is_complete:
            self._frame = None
        return True

    def _feed(self, *, final: bool) -> None:
        """Feed what has come of the message in pieces; keep its head, and what fills no piece."""
        size = self._head + _PIECE
        while len(self._data) > size:
            self._feed_message(self._data[:size])
            del self._data[self._head : size]
        if final:
            self._feed_message(self._data)
            self._data.clear()
            self._kind = 0

    def _feed_message(self, data: bytearray) -> None:
        header = struct.pack("!BBQ", _FIN | self._kind, 127, len(data))
        self._inner.feed_data(header + data)


def unmasked(data: bytes, mask: bytes, phase: int) -> bytes:
    """Return a part of a payload without its mask; ``phase`` is where it begins, modulo 4."""
    turned = mask[phase:] + mask[:phase]
    key = (turned * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data) ^ int.from_bytes(key)).to_bytes(len(data))
