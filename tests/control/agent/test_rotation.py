"""Rotation of logs that a runtime only writes: which files stay, and what fails."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.agent import rotation
from control.agent.rotation import LogRotation, plan
from control.runtime.base import (
    Container,
    ContainerRuntimeError,
    LogLimits,
    Phase,
    PodRef,
    RuntimeState,
)

STAMPS = st.integers(0, 10**6).map(lambda number: f"0.log.20261130-{number:06d}")
NAMES = st.lists(st.tuples(STAMPS, st.sampled_from(["", ".gz", ".tmp"])), max_size=20)


@given(NAMES, st.integers(2, 6))
def test_a_plan_leaves_room_and_whole_files(found, most_files):
    names = {stamp + end for stamp, end in found}
    wanted = plan(names, most_files)
    kept = names - set(wanted.remove)
    assert set(wanted.remove) <= names
    assert set(wanted.pack) <= kept
    assert len(kept) <= most_files - 2
    assert not any(name.endswith(".tmp") or f"{name}.gz" in kept for name in kept)
    used = [it for it in names if not it.endswith(".tmp") and f"{it}.gz" not in names]
    assert kept == set(sorted(used)[len(used) - len(kept) :])  # the newest
    assert {*wanted.pack} == {it for it in kept if not it.endswith(".gz")}


class Writer:
    """A runtime whose containers' logs are the test's."""

    def __init__(self, log: Path, phase: Phase = Phase.RUNNING) -> None:
        pod = PodRef("default", "web", "u")
        self.container = Container(
            "c", "box", pod, "main", 0, phase, "i", "i", 0.0, log_path=str(log)
        )
        self.log, self.down, self.reopened = log, False, 0

    def observe(self) -> RuntimeState:
        return RuntimeState((), (self.container,))

    async def reopen_log(self, container_id: str) -> None:
        if self.down:
            raise ContainerRuntimeError("nobody listens on the socket")
        self.reopened += 1
        self.log.touch()


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "main/0.log"
    path.parent.mkdir()
    path.write_text("x" * 100)
    return path


def files(log):
    return sorted(path.name for path in log.parent.iterdir())


async def rotate(writer, size=100, count=5, at=0.0):
    await LogRotation(writer, LogLimits(size, count), lambda: at).once()


async def test_a_full_log_is_renamed_and_opened_anew(log):
    writer = Writer(log)
    await rotate(writer, 101)
    assert files(log) == ["0.log"]
    await rotate(writer)
    assert files(log) == ["0.log", "0.log.19700101-000000"]
    log.write_text("y" * 100)
    await rotate(writer, at=61.0)
    assert files(log) == ["0.log", "0.log.19700101-000000.gz", "0.log.19700101-000101"]
    packed = log.with_name("0.log.19700101-000000.gz")
    assert gzip.decompress(packed.read_bytes()) == b"x" * 100
    assert packed.stat().st_mode == log.stat().st_mode


async def test_the_oldest_goes_and_two_stay_at_least(log):
    writer = Writer(log)
    for second in range(5):
        log.write_text("y" * 100)
        await rotate(writer, count=2, at=float(second))
    assert files(log) == ["0.log", "0.log.19700101-000004"]


async def test_a_runtime_that_is_down_keeps_its_log(log):
    writer = Writer(log)
    writer.down = True
    await rotate(writer)
    assert files(log) == ["0.log"] and log.read_text() == "x" * 100


async def test_a_log_that_was_removed_is_made_again(log):
    writer = Writer(log)
    log.unlink()
    await rotate(writer)
    assert writer.reopened == 1 and files(log) == ["0.log"]


async def test_an_ended_container_keeps_its_log_as_it_is(log):
    await rotate(Writer(log, Phase.EXITED))
    assert files(log) == ["0.log"]


def test_removal_takes_all_of_one_container(log):
    for name in ("0.log.1.gz", "0.log.2", "10.log", "1.log"):
        log.with_name(name).touch()
    for _ in range(2):
        rotation.remove(str(log))
    assert files(log) == ["1.log", "10.log"]
