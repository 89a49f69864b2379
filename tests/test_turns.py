"""Whole files of tests, divided among processes that run at once."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.turns import LONGEST, take

CHECKOUT = Path(__file__).resolve().parents[1]
FILES, TESTS = 6, 3
MODULE = f"""
import os
import pytest

def say(what):
    with open({{log!r}}, "a") as log:  # one write: lines stay whole
        log.write(f"{{{{os.getpid()}}}} {{{{what}}}}\\n")

@pytest.fixture(scope="module", autouse=True)
def kept():
    say("begin {{name}}")
    yield
    say("end {{name}}")

@pytest.mark.parametrize("number", range({TESTS}))
def test(number):
    say("{{name}}")
    assert {{passes}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "tests"
    made.mkdir()
    for number in range(FILES):
        name = f"test_{number}"
        text = MODULE.format(log=str(tmp_path / "log"), name=name, passes=number != 1)
        (made / f"{name}.py").write_text(text)
    (tmp_path / "turns").mkdir()
    yield tmp_path


def start(folder: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    files = [f"--rootdir={folder}", f"--turns={folder / 'turns'}", str(folder / "tests")]
    return subprocess.Popen([*argv, *files], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)


def test_each_file_is_one_processs_own(folder: Path) -> None:
    with start(folder) as first, start(folder) as second:
        printed = first.communicate()[0] + second.communicate()[0]
    assert printed.count("FAILED") == printed.count("= FAILURES =") * TESTS == TESTS, printed
    assert {first.returncode, second.returncode} <= {0, 1}
    assert 1 in {first.returncode, second.returncode}
    lines = [line.split(maxsplit=1) for line in (folder / "log").read_text().splitlines()]
    wanted: list[str] = []
    for process in (str(first.pid), str(second.pid)):
        said = [what for pid, what in lines if pid == process]
        names = [what.removeprefix("begin ") for what in said if what.startswith("begin")]
        for name in names:
            wanted += [f"begin {name}", *[name] * TESTS, f"end {name}"]
        assert said == wanted[len(wanted) - len(said) :], "each file wholly, one after the other"
    assert sorted(what for _, what in lines) == sorted(wanted)
    assert len(wanted) == FILES * (TESTS + 2)


def test_long_files_come_first(tmp_path: Path) -> None:
    assert all((CHECKOUT / name).exists() for name in LONGEST), "renamed?"
    names = ["tests/a.py", LONGEST[1], "tests/b.py", LONGEST[0]]
    items: list[Any] = [SimpleNamespace(nodeid=f"{name}::test") for name in names]
    taken = [item.nodeid.partition("::")[0] for item in take(items, tmp_path)]
    assert taken == [LONGEST[0], LONGEST[1], "tests/a.py", "tests/b.py"]
