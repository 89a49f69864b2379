"""How long a server that a call left behind goes on."""

import os
from pathlib import Path

import pytest

from cni_plugin.server.lingering import Lingering


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_it_ends_when_nobody_has_called_for_as_long(clock: Clock) -> None:
    lingering = Lingering(60, (), clock)
    clock.now += 59
    assert lingering.remaining() == 1
    assert lingering.admits()
    assert lingering.remaining() == 60
    clock.now += 60
    assert lingering.remaining() == 0
    clock.now += 1
    assert lingering.remaining() == 0


@pytest.mark.parametrize("change", ["content", "time", "removed", "added"])
def test_it_ends_at_once_when_its_code_is_another(
    change: str, clock: Clock, tmp_path: Path
) -> None:
    source, missing = tmp_path / "source.py", tmp_path / "missing.py"
    source.write_text("1")
    lingering = Lingering(60, [source, missing], clock)
    assert lingering.admits()
    match change:
        case "content":
            source.write_text("12")
        case "time":
            state = source.stat()
            os.utime(source, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
        case "removed":
            source.unlink()
        case "added":
            missing.write_text("")
    assert not lingering.admits()
    assert lingering.remaining() == 0
    source.write_text("1")
    assert not lingering.admits()
