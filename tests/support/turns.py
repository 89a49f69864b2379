"""Divide the files of tests among processes that run at once: each takes whole files, in turn."""

from collections.abc import Iterator
from pathlib import Path

import pytest


def run(session: pytest.Session, folder: Path) -> None:
    """Run the tests of the files that no other process with this folder has taken.

    pytest's own loop, with other items. Raises what that raises: Session.Failed (-x) and
    Session.Interrupted.
    """
    ours = _take(session.items, folder)
    item = next(ours, None)
    while item:
        following = next(ours, None)  # pytest keeps the fixtures that it shares with this one
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following


def _take(items: list[pytest.Item], folder: Path) -> Iterator[pytest.Item]:
    """Yield the tests of each file that is still free when its turn comes."""
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.nodeid.partition("::")[0], []).append(item)
    for name, tests in files.items():
        try:
            (folder / name.replace("/", "%")).touch(exist_ok=False)
        except FileExistsError:
            continue
        yield from tests
