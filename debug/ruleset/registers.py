"""The registers of a rule: 16 words of four bytes, and which of them hold what is not known."""

import sys

WORD = 4
_WORDS = 20  # a value of 16 bytes may begin in the last one


class UnknownError(Exception):
    """Something that decides is not known here: the text says what."""


class Registers:
    """Values by word; reading a word that holds nothing known raises UnknownError."""

    __slots__ = ("_bytes", "_unknown")

    def __init__(self) -> None:
        self._bytes = bytearray(_WORDS * WORD)
        self._unknown: dict[int, str] = {}

    def copy(self) -> "Registers":
        """Return other registers with the same values."""
        other = Registers()
        other._bytes[:] = self._bytes
        other._unknown = dict(self._unknown)
        return other

    def load(self, word: int, value: bytes) -> None:
        """Store a value, with zeros up to the next word."""
        words = -(-len(value) // WORD)
        at = word * WORD
        self._bytes[at : at + words * WORD] = value.ljust(words * WORD, b"\0")
        self._forget(word, words)

    def load_unknown(self, word: int, length: int, why: str) -> None:
        """Store that a value is not known."""
        for one in range(word, word + -(-length // WORD)):
            self._unknown[one] = why

    def read(self, word: int, length: int) -> bytes:
        """Return a value; raises UnknownError."""
        if self._unknown:
            for one in range(word, word + -(-length // WORD)):
                if one in self._unknown:
                    raise UnknownError(self._unknown[one])
        at = word * WORD
        return bytes(self._bytes[at : at + length])

    def _forget(self, word: int, words: int) -> None:
        for one in range(word, word + words):
            self._unknown.pop(one, None)


def host(number: int, length: int = 4) -> bytes:
    """Return a number as this machine stores it."""
    return number.to_bytes(length, sys.byteorder)


def from_host(value: bytes) -> int:
    """Return the number of what this machine stores."""
    return int.from_bytes(value, sys.byteorder)
