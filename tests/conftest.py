"""Marks by folder, so that no module has to repeat where it lives."""

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import turns

# Machines are shared and noisy: how long an example takes says nothing about the code.
settings.register_profile("podwire", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("podwire")

_FILES = pytest.StashKey[list[turns.Spent]]()
_MARKS = {"netns": pytest.mark.netns, "e2e": pytest.mark.e2e}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options by which bin/test divides the tests; -m and -k are its user's."""
    parser.addoption("--only", choices=("sealed", "e2e"), help="all but tests/e2e, or only these")
    parser.addoption("--turns", type=Path, help="a folder: take files in turn with who has it, too")


def pytest_configure() -> None:
    """SIGTERM ends a run as Ctrl-C does: sealed, pytest is a process 1, which passes over it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A shell starts what it runs in the background with SIGINT ignored, and tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    gc.disable()  # until all is imported: a tenth of the time that it takes to collect the tests


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for part in item.path.relative_to(config.rootpath).parts:
            if part in _MARKS:
                item.add_marker(_MARKS[part])
    if only := config.getoption("--only"):
        parts: dict[bool, list[pytest.Item]] = {True: [], False: []}
        for item in items:
            parts[(item.get_closest_marker("e2e") is not None) == (only == "e2e")].append(item)
        config.hook.pytest_deselected(items=parts[False])
        items[:] = parts[True]


def pytest_collection_finish() -> None:
    """Pass over what importing has left: it stays, and would be half of each collection's time."""
    gc.enable()
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_left_open() -> Iterator[None]:
    """Have pytest find what a module has left open at its end, not in another's test."""
    yield
    gc.collect()


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    folder: Path | None = session.config.getoption("--turns")
    if folder is None or session.testsfailed:  # that is: while it collected them
        return None
    session.config.stash[_FILES] = turns.run(session, folder)
    return True


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which files take the longest: tests/support/turns.py begins with these."""
    longest = config.stash.get(_FILES, [])[:25]
    if longest:
        terminalreporter.section("longest files (elapsed, of processors)")
    for file in longest:
        terminalreporter.line(f"{file.elapsed:7.1f} s {file.processor:7.1f} s  {file.name}")
