"""Compares a status with the expected one, field by field."""

from typing import Any

_REST = "..."  # stands for what is not Kubernetes' own, or depends on the other Pods


def differences(want: Any, have: Any, path: str = "") -> list[str]:
    """Return a line for each field that differs."""
    if isinstance(want, dict) and isinstance(have, dict):
        return [
            line
            for key in {**want, **have}
            for line in differences(want.get(key), have.get(key), f"{path}.{key}")
        ]
    if isinstance(want, str) and _REST in want and isinstance(have, str):
        start, end = want.split(_REST)
        same = have.startswith(start) and have.endswith(end)
    else:
        same = want == have
    return [] if same else [f"  {path[1:]}: wanted {want!r}, got {have!r}"]
