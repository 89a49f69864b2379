"""The rooms of the tests: what modules share stands in tests/support, and nowhere else.

import-linter cannot say this: its contracts name modules one by one, and grimp passes over folders
without ``__init__.py``.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SUPPORT = TESTS / "support"


def imported(source: str) -> Iterator[str]:
    """Yield the dotted names of the modules of tests/ that a module imports, wherever it does."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "tests" else [base]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in ("tests", ""))


def strangers(source: str) -> list[str]:
    """Return the imports that a module of tests/ must not have."""
    return [name for name in imported(source) if not f"{name}.".startswith("tests.support.")]


def test_no_module_imports_a_test_module_or_a_conftest() -> None:
    found = {
        str(path.relative_to(TESTS)): names
        for path in sorted(TESTS.rglob("*.py"))
        if (names := strangers(path.read_text()))
    }
    assert found == {}, "move what they share to tests/support"


def test_support_holds_no_tests() -> None:
    assert [str(path) for path in SUPPORT.rglob("test_*.py")] == []


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from tests.netns.cni.test_kill import execute", ["tests.netns.cni.test_kill"]),
        ("import tests.control.conftest", ["tests.control.conftest"]),
        ("from tests import conftest", ["tests.conftest"]),
        ("def f():\n    from tests.control.conftest import x", ["tests.control.conftest"]),
        ("from .test_kill import execute", [".test_kill"]),
        ("from . import conftest", ["."]),
        ("from tests.supporters import x", ["tests.supporters"]),
        ("from tests.support.space import Space", []),
        ("from tests import support", []),
        ("import tests.support.space", []),
        ("import ast", []),
    ],
)
def test_every_form_of_import_is_seen(source: str, names: list[str]) -> None:
    assert strangers(source) == names
