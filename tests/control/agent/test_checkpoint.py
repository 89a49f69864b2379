"""A checkpoint's changes: what they cost, and what a crash or an older agent has left."""

import json
import os
from pathlib import Path

import pytest

from control.linux import whole
from control.linux.checkpoint import Checkpoint


def entries(path: Path) -> dict[str, object]:
    return dict(Checkpoint(path, "pods").section("pods"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint"


def test_a_change_writes_itself_however_many_entries_there_are(path: Path):
    kept = Checkpoint(path, "pods")
    kept.write(("pods", f"u{number}", {"cpu": "1"}) for number in range(500))
    before = path.stat()
    kept.write([("pods", "one-more", {"cpu": "2"})])
    kept.write([("pods", "u0", None)])
    after = path.stat()
    assert after.st_ino == before.st_ino and after.st_size - before.st_size < 100
    assert after.st_mode & 0o777 == 0o600
    found = entries(path)
    assert len(found) == 500 and found["one-more"] == {"cpu": "2"} and "u0" not in found


def test_the_file_does_not_grow_for_ever(path: Path):
    kept = Checkpoint(path, "pods")
    for number in range(5000):
        kept.write([("pods", f"u{number}", True), ("pods", f"u{number - 10}", None)])
    assert path.read_text().count("\n") < 1100
    assert list(entries(path)) == [f"u{number}" for number in range(4990, 5000)]


def test_what_an_older_agent_wrote_is_read(path: Path):
    path.write_text(json.dumps({"pods": {"u1": 1}, "intents": ["b", "a"], "more": 3}))
    old = Checkpoint(path, "pods", "intents")
    assert old.section("pods") == {"u1": 1} and list(old.section("intents")) == ["b", "a"]
    old.write([("pods", "u2", 2)])
    assert json.loads(path.read_text()) == {
        "pods": {"u1": 1, "u2": 2},
        "intents": {"b": True, "a": True},
    }


@pytest.mark.parametrize("end", ['["pods", "u3"', '["pods", "u3", 3]', "torn\n", "[1]\n"])
def test_a_line_that_is_not_whole_ends_the_file(path: Path, end: str):
    kept = Checkpoint(path, "pods")
    kept.write([("pods", "u1", 1)])
    kept.write([("pods", "u2", 2)])
    with path.open("a") as file:
        file.write(end)
    again = Checkpoint(path, "pods")
    assert again.section("pods").keys() - {"u3"} == {"u1", "u2"}
    again.write([("pods", "u4", 4)])
    assert entries(path).keys() - {"u3"} == {"u1", "u2", "u4"}


@pytest.mark.parametrize("text", [None, "", "torn", "[]", '{"pods": 3}', "\xff"])
def test_a_file_without_a_checkpoint_has_no_entries(path: Path, text: str | None):
    if text is not None:
        path.write_text(text, encoding="latin-1")
    assert not entries(path)
    Checkpoint(path, "pods").write([("pods", "u", 1)])
    assert entries(path) == {"u": 1}


def test_after_a_failed_write_the_next_one_writes_all(path: Path, monkeypatch):
    kept = Checkpoint(path, "pods")
    kept.write([("pods", "u1", 1)])
    with monkeypatch.context() as patched:
        real = os.write
        patched.setattr(os, "write", lambda file, data: real(file, data[:5]))
        with pytest.raises(OSError, match="No space left"):
            kept.write([("pods", "u2", 2)])
    assert entries(path) == {"u1": 1}
    kept.write([("pods", "u3", 3)])
    assert entries(path) == {"u1": 1, "u2": 2, "u3": 3}


def test_a_file_that_is_gone_is_written_anew(path: Path):
    kept = Checkpoint(path, "pods")
    kept.write([("pods", "u1", 1)])
    path.unlink()
    kept.write([("pods", "u2", 2)])
    assert entries(path) == {"u1": 1, "u2": 2}


def test_a_full_disk_leaves_the_whole_file(path: Path, monkeypatch):
    kept = Checkpoint(path, "pods")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(whole, "write", full)
        with pytest.raises(OSError, match="No space left"):
            kept.write([("pods", "u1", 1)])
    assert not path.exists()
    kept.write([])
    assert entries(path) == {"u1": 1}
