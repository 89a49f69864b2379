"""What reset removes, and what it must not."""

import subprocess
from pathlib import Path

from control.install.layout import Layout, this_program
from control.install.progress import Progress
from control.install.reset import reset


def test_folders_of_the_host_that_are_mounted_for_pods_stay_whole(tmp_path: Path):
    layout, precious = Layout(tmp_path / "root"), tmp_path / "precious"
    volumes = [layout.state / "agent" / name for name in ("one", "with blank", "one")]
    for folder in (precious, *volumes):
        folder.mkdir(parents=True, exist_ok=True)
    (precious / "file").touch()
    for volume in volumes:  # one of them twice
        subprocess.run(["mount", "--bind", precious, volume], check=True)
    removed = reset(layout, this_program(), Progress(quiet=True))
    assert removed == (str(layout.state),)
    assert not layout.state.exists()
    assert (precious / "file").exists()
