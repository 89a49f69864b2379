"""Bob Jenkins' hash, as the kernel computes it (include/linux/jhash.h)."""

import sys

_MASK = 0xFFFFFFFF
_START = 0xDEADBEEF


def jhash(data: bytes, seed: int) -> int:
    """Return the 32 bits of a hash of bytes."""
    a = b = c = (_START + len(data) + seed) & _MASK
    while len(data) > 12:
        a, b, c = _mix(*_added(a, b, c, data[:12]))
        data = data[12:]
    if not data:
        return c
    return _final(*_added(a, b, c, data.ljust(12, b"\0")))


def scaled(number: int, modulus: int) -> int:
    """Return a number of 32 bits scaled to 0..modulus-1 (reciprocal_scale)."""
    return (number * modulus) >> 32


def _added(a: int, b: int, c: int, data: bytes) -> tuple[int, int, int]:
    words = [int.from_bytes(data[at : at + 4], sys.byteorder) for at in (0, 4, 8)]
    return (a + words[0]) & _MASK, (b + words[1]) & _MASK, (c + words[2]) & _MASK


def _turned(word: int, bits: int) -> int:
    return ((word << bits) | (word >> (32 - bits))) & _MASK


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits in (4, 6, 8, 16, 19, 4):
        a = ((a - c) & _MASK) ^ _turned(c, bits)
        c = (c + b) & _MASK
        a, b, c = b, c, a  # each word takes each part in turn
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    c = ((c ^ b) - _turned(b, 14)) & _MASK
    a = ((a ^ c) - _turned(c, 11)) & _MASK
    b = ((b ^ a) - _turned(a, 25)) & _MASK
    c = ((c ^ b) - _turned(b, 16)) & _MASK
    a = ((a ^ c) - _turned(c, 4)) & _MASK
    b = ((b ^ a) - _turned(a, 14)) & _MASK
    return ((c ^ b) - _turned(b, 24)) & _MASK
