"""Units find compiled what they run, though they may not write it."""

import sys
from pathlib import Path

import pytest

from control.install.bytecode import compile_parts
from control.install.layout import InstallError, Program
from control.install.progress import Progress

QUIET = Progress(quiet=True)


def program(folder: Path) -> Program:
    found = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(folder)}
    return Program(sys.executable, tuple(found.items()))


def test_what_a_part_imports_is_compiled_for_all_users(tmp_path: Path):
    folder = tmp_path / "pycache"
    compile_parts(program(folder), ("dns",), QUIET)
    made = {path.name.partition(".")[0]: path for path in folder.rglob("control/dns/*.pyc")}
    assert "cli" in made
    assert list(folder.rglob("click/core.*.pyc")), "also that of libraries"
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in made.values())


def test_what_a_part_imports_after_its_command_line_is_compiled_too(tmp_path: Path):
    folder = tmp_path / "pycache"
    compile_parts(program(folder), ("proxy",), QUIET)
    assert list(folder.rglob("proxy/node.*.pyc"))


def test_a_wheel_is_compiled_already(tmp_path: Path):
    compile_parts(Program("/nowhere/python"), ("dns",), QUIET)
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_cannot_be_imported_starts_no_unit(tmp_path: Path):
    with pytest.raises(InstallError, match="cannot be imported: KeyError"):
        compile_parts(program(tmp_path), ("no such part",), QUIET)
