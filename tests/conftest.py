"""Marks by folder, so that no module has to repeat where it lives."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Machines are shared and noisy: how long an example takes says nothing about the code.
settings.register_profile("podwire", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("podwire")

_MARKS = {"netns": pytest.mark.netns, "e2e": pytest.mark.e2e}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for part in Path(item.path).parts:
            if part in _MARKS:
                item.add_marker(_MARKS[part])
