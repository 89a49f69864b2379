"""Marks by folder, so that no module has to repeat where it lives."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Machines are shared and noisy: how long an example takes says nothing about the code.
settings.register_profile("podwire", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("podwire")

_MARKS = {"netns": pytest.mark.netns, "e2e": pytest.mark.e2e}


def pytest_configure() -> None:
    """SIGTERM ends a run as Ctrl-C does: sealed, pytest is a process 1, which passes over it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for part in Path(item.path).parts:
            if part in _MARKS:
                item.add_marker(_MARKS[part])
