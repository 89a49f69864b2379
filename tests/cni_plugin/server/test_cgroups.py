"""Which folder a process's cgroup has."""

from pathlib import Path

import pytest

from cni_plugin.server.cgroups import _folder

_MOUNTS = """\
30 1 0:26 /other /part ro - cgroup2 none rw
31 1 0:26 / /sys/fs/cgroup rw - cgroup2 none rw,nsdelegate
32 1 0:27 / /sys/fs/cgroup/memory rw - cgroup none rw,memory
"""


def test_a_mount_that_shows_another_part_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _: _MOUNTS)
    assert _folder("", "/other/x") == Path("/part/x")
    assert _folder("", "/system") == Path("/sys/fs/cgroup/system")
    assert _folder("memory", "/x") == Path("/sys/fs/cgroup/memory/x")
    with pytest.raises(FileNotFoundError, match="freezer"):
        _folder("freezer", "/x")
