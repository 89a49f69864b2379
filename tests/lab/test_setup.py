"""bin/setup where it cannot go on: one line that says why."""

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.fixture
def checkout():
    """A checkout in which nothing was set up. pytest's own folders are closed to other users."""
    with TemporaryDirectory(prefix="podwire-setup-") as folder:
        root = Path(folder)
        (root / "bin").mkdir()
        shutil.copy(CHECKOUT / "bin" / "setup", root / "bin")
        shutil.copy(CHECKOUT / "requirements.lock", root)
        for path in (root, *root.rglob("*")):
            path.chmod(0o755)
        yield root


def setup(checkout, *prefix):
    argv = [*prefix, "bash", str(checkout / "bin" / "setup")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.splitlines()


def test_somebody_elses_checkout_is_left_alone(checkout):
    text = f"podwire setup: {checkout} is not yours to write: run this once as its owner, or with"
    assert setup(checkout, *NOBODY) == (1, [f"{text} sudo"])


def test_an_environment_that_cannot_be_made_is_one_line(checkout):
    (checkout / ".venv").touch()
    code, (begun, failed) = setup(checkout)
    assert (code, begun) == (1, f"podwire setup: making {checkout}/.venv from requirements.lock")
    assert failed.startswith(f"podwire setup: python3 -m venv could not make {checkout}/.venv: ")
