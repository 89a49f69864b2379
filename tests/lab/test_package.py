"""The distribution: one wheel with every room, and a command that finds its parts."""

import importlib
import platform
import runpy
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from click.testing import CliRunner

from lab.main import COMMANDS, SUMMARIES, entry, main

CHECKOUT = Path(__file__).resolve().parents[2]
# The binaries that a machine without a compiler needs, at the paths of bin/wheel-hook.py.
PLACES = runpy.run_path(str(CHECKOUT / "bin/wheel-hook.py"))["PLACES"]


def test_the_wheel_holds_every_room(tmp_path):
    argv = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "--target",
        "wheel",
        "--directory",
        tmp_path,
    ]
    subprocess.run([str(a) for a in argv], cwd=CHECKOUT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("podwire-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tops = {name.split("/")[0] for name in names}
    assert {"cni_plugin", "proxy", "control", "lab"} <= tops
    assert "tests" not in tops
    assert {f"{room}/py.typed" for room in ("cni_plugin", "proxy", "control", "lab")} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert set(PLACES.values()) <= names
    assert any(name.endswith(".data/data/share/man/man1/podwire-lab-up.1") for name in names)
    assert wheel.stem.endswith(f"-manylinux_2_17_{platform.machine()}"), "it holds binaries"


def test_the_installed_command_is_what_the_checkout_runs():
    scripts = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["podwire"].partition(":")
    assert getattr(importlib.import_module(module), function) is entry


def test_every_part_has_a_summary_and_a_help():
    assert set(COMMANDS) == set(SUMMARIES)
    overview = CliRunner().invoke(main, ["--help"]).output
    for name in COMMANDS:
        assert name in overview
        shown = CliRunner().invoke(main, [name, "--help"])
        assert shown.exit_code == 0, shown.output
        assert "Usage:" in shown.output


def test_the_environment_holds_all_that_it_imports():
    """Another machine may lack a package of this system."""
    assert [path for path in sys.path if "dist-packages" in path] == []
