"""The fixture that makes a module's network namespaces."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.space import Space

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def spaces() -> Iterator[Callable[[str], Space]]:
    """Give a function that makes namespaces, ``spaces("pod")``; remove all after the module."""
    if "eth0:" in Path("/proc/net/dev").read_text() or os.geteuid() != 0:
        pytest.fail("tests with packets run sealed off the host, as root: use bin/test")
    made: list[Space] = []

    def make(name: str) -> Space:
        made.append(Space(f"{name}-{os.getpid()}-{next(_numbers)}"))
        return made[-1]

    yield make
    for space in reversed(made):
        space.remove()
