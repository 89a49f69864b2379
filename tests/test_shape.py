"""The shape of the code: short functions, and few files beside each other."""

import ast
import statistics
from pathlib import Path

import pytest

from tests.support.e2e.harness import CHECKOUT

ROOMS = ("cni_plugin", "proxy", "control", "lab", "debug")
SOURCES = [path for room in ROOMS for path in sorted((CHECKOUT / room).rglob("*.py"))]
MOST_LINES, USUAL_LINES = 40, 7
MOST_FILES = 15


def lengths(path: Path) -> dict[str, int]:
    """The functions of a file, and the lines of each."""
    found = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        f"{path.relative_to(CHECKOUT)}:{node.lineno} {node.name}": (node.end_lineno or 0)
        - node.lineno
        + 1
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, found)
    }


def test_functions_are_short() -> None:
    every = {name: lines for path in SOURCES for name, lines in lengths(path).items()}
    assert {name: lines for name, lines in every.items() if lines > MOST_LINES} == {}
    assert statistics.median(every.values()) <= USUAL_LINES


@pytest.mark.parametrize("room", ["cni_plugin", "proxy"])
def test_no_folder_has_many_files(room: str) -> None:
    folders = {path.parent for path in (CHECKOUT / room).rglob("*.py")}
    many = {
        str(folder): count
        for folder in folders
        if (count := sum(1 for _ in folder.glob("*.py"))) > MOST_FILES
    }
    assert many == {}


def test_every_package_says_what_belongs_there() -> None:
    silent = [
        str(path)
        for path in SOURCES
        if path.name == "__init__.py"
        and len((ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()) < 3
    ]
    assert silent == []
