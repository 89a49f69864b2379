"""Divide the files of tests among processes that run at once: each takes whole files, in turn.

Long files come first. One that begins when nothing else is left keeps a single processor busy while
the others have no work.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

# Files of more than half a minute, the longest first (each process says which are its longest).
LONGEST = (
    "tests/e2e/test_docs.py",
    "tests/e2e/test_cluster.py",
    "tests/e2e/test_machines.py",
    "tests/e2e/test_variants.py",
    "tests/e2e/test_cni_runtimes.py",
    "tests/e2e/test_load_balancers.py",
    "tests/e2e/test_survival.py",
    "tests/e2e/test_debug.py",
    "tests/e2e/test_debug_faults.py",
    "tests/netns/proxy/test_process.py",
    "tests/netns/proxy/test_policy.py",
    "tests/netns/cni/test_kill.py",
    "tests/netns/proxy/test_packets.py",
    "tests/netns/node/agent/test_resize.py",
    "tests/control/clients/test_helm.py",
    "tests/control/clients/test_libraries.py",
    "tests/control/clients/test_commands.py",
    "tests/netns/cni/test_firewall.py",
    "tests/lab/test_tools.py",
    "tests/control/server/pages/test_openapi_kubectl.py",
)


@dataclass(slots=True)
class Spent:
    """What the tests of one file took, in seconds."""

    name: str
    elapsed: float = 0.0
    processor: float = 0.0  # of this process, and of those that it has waited for


def run(session: pytest.Session, folder: Path) -> list[Spent]:
    """Run the tests of the files that no other process with this folder has taken.

    pytest's own loop, with other items. Returns what each file took, the longest first. Raises what
    that loop raises: Session.Failed (-x) and Session.Interrupted.
    """
    ours = take(session.items, folder)
    item = next(ours, None)
    files: dict[str, Spent] = {}
    while item:
        following = next(ours, None)  # pytest keeps the fixtures that it shares with this one
        began = time.monotonic(), _processor()
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        spent = files.setdefault(_file(item), Spent(_file(item)))
        spent.elapsed += time.monotonic() - began[0]
        spent.processor += _processor() - began[1]
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return sorted(files.values(), key=lambda file: -file.elapsed)


def _processor() -> float:
    return sum(os.times()[:4])


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def take(items: list[pytest.Item], folder: Path) -> Iterator[pytest.Item]:
    """Yield the tests of each file that is still free when its turn comes."""
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(_file(item), []).append(item)
    for name, tests in sorted(files.items(), key=lambda file: _place(file[0])):
        try:
            (folder / name.replace("/", "%")).touch(exist_ok=False)
        except FileExistsError:
            continue
        yield from tests


def _place(name: str) -> int:
    """Return where a file stands among all; files of one place keep their order."""
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)
