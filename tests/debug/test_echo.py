"""Pings through a firewall that answers them itself."""

import errno
import select
import struct
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from debug.kernel.echo import Echoes


def echoes(monkeypatch: pytest.MonkeyPatch, heard: Iterator[bytes | OSError]) -> Echoes:
    """Return a socket that hears this, then nothing."""
    waiting = list(heard)

    def receive(_: int) -> bytes:
        found = waiting.pop(0)
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(select, "select", lambda *_: ([1], [], []) if waiting else ([], [], []))
    made = Echoes.__new__(Echoes)
    made.version, made._sequence, made._mark = 4, 0, b"mark"
    made._socket = SimpleNamespace(recv=receive, send=lambda _: None)
    return made


@pytest.mark.parametrize("number", [errno.EHOSTUNREACH, errno.ECONNREFUSED, errno.ENETUNREACH])
def test_a_refusal_is_no_answer(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """firewalld refuses with host-prohibited: that is a way that fails, not one that is unknown."""
    assert echoes(monkeypatch, [OSError(number, "no")]).time(100, 1.0) is None


def test_an_answer_is_known_behind_options_and_beside_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = b"\x46" + bytes(23) + struct.pack("!BBHHH", 0, 0, 0, 0, 1) + b"mark"
    short = b"\x45" + bytes(19) + b"\x03"
    assert echoes(monkeypatch, [short, answer]).time(100, 1.0) is not None
