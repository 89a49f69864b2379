"""What a test leaves open is reported at the end of its own module."""

import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
_UNRAISABLE = "error::pytest.PytestUnraisableExceptionWarning"
LEAKS = """
import socket

class Owner:
    pass

def test_leaks():
    owner = Owner()
    owner.itself, owner.socket = owner, socket.socket()

def test_last():
    pass
"""


def test_a_leak_is_an_error_of_its_module(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(LEAKS)
    (tmp_path / "test_b.py").write_text("def test(): pass\n")
    argv = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    strict = ["-W", "error::ResourceWarning", "-W", _UNRAISABLE]
    options = [*strict, "-rE", f"--rootdir={tmp_path}", str(tmp_path)]
    done = subprocess.run([*argv, *options], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    assert "3 passed, 1 error" in done.stdout
    assert "unclosed <socket.socket" in done.stdout
    errors = [it for it in done.stdout.splitlines() if it.startswith("ERROR ")]
    assert len(errors) == 1 and errors[0].partition(" - ")[0].endswith("/test_a.py::test_last")
