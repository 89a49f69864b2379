"""bin/setup on machines that stop it, or leave it half done: one line names the remedy."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
NO_PACKAGES = "# nothing to install\n"
NOWHERE = "nowhere==1.0 --hash=sha256:" + 64 * "0" + "\n"


@contextmanager
def new_checkout() -> Iterator[Path]:
    """Make a checkout whose lock file names no package.

    pytest's own folders are closed to other users.
    """
    with TemporaryDirectory(prefix="podwire-setup-") as folder:
        root = Path(folder)
        (root / "bin").mkdir()
        shutil.copy(CHECKOUT / "bin" / "setup", root / "bin")
        for program in ("compile", "manuals"):
            (root / "bin" / program).write_text("#!/bin/sh\n")
        (root / "lab").mkdir()
        shutil.copy(CHECKOUT / "lab" / "debian-packages.txt", root / "lab")
        (root / "requirements.lock").write_text(NO_PACKAGES)
        for path in (root, *root.rglob("*")):
            path.chmod(0o755)
        yield root


@pytest.fixture
def checkout():
    """A checkout that was not set up."""
    with new_checkout() as root:
        yield root


@pytest.fixture(scope="module")
def environment():
    """Return the environment that bin/setup makes."""
    with new_checkout() as root:
        assert setup(root) == (0, first_run(root))
        yield root / ".venv"


@pytest.fixture
def made(checkout, environment):
    """A checkout in which root ran bin/setup."""
    shutil.copytree(environment, checkout / ".venv", symlinks=True)
    assert setup(checkout) == (0, [])
    return checkout


def command(checkout, *prefix):
    return [*prefix, "bash", str(checkout / "bin" / "setup")]


def setup(checkout, *prefix, **environment):
    done = subprocess.run(
        command(checkout, *prefix),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PIP_RETRIES": "1"} | environment,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


def making(checkout):
    return f"podwire setup: making {checkout}/.venv from requirements.lock"


def first_run(checkout):
    to = f'export PATH="$PATH:{checkout}/.venv/bin"'
    return [making(checkout), f"podwire setup: to call podwire by its name: {to}"]


@contextmanager
def disk(folder: Path, options: str) -> Iterator[None]:
    """Mount a small disk on a folder."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_somebody_elses_checkout_is_left_alone(checkout):
    text = f"podwire setup: {checkout} belongs to root: run this once with sudo, or as root"
    assert setup(checkout, *NOBODY) == (1, [text])


def test_an_environment_that_root_made_is_roots_to_renew(made):
    os.chown(made, 65534, 65534)
    assert setup(made, *NOBODY) == (0, []), "nothing to do"
    (made / "requirements.lock").write_text(NO_PACKAGES * 2)
    code, (line,) = setup(made, *NOBODY)
    assert code == 1
    assert line.endswith(" belongs to root: run this once with sudo, or as root")
    assert setup(made) == (0, [making(made)])


def test_an_environment_that_root_renewed_is_roots_to_renew(made):
    for path in (made, *made.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    (made / "requirements.lock").write_text(NO_PACKAGES * 2)
    assert setup(made) == (0, [making(made)])
    (made / "requirements.lock").write_text(NO_PACKAGES * 3)
    text = f"{made}/.venv/made-from belongs to root: run this once with sudo, or as root"
    assert setup(made, *NOBODY) == (1, [f"podwire setup: {text}"])


def test_two_first_runs_at_once_make_one_environment(checkout):
    runs = [
        subprocess.Popen(command(checkout), stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [run.communicate()[1].splitlines() for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert sorted(said) == [[], first_run(checkout)]


def test_a_killed_run_is_begun_again(checkout):
    lost = checkout / ".venv" / "half-made"
    with subprocess.Popen(command(checkout), stderr=subprocess.DEVNULL, process_group=0) as run:
        while not (checkout / ".venv" / "bin" / "python").exists():
            assert run.poll() is None
            time.sleep(0.01)
        os.killpg(run.pid, signal.SIGKILL)
    lost.touch()
    assert setup(checkout) == (0, first_run(checkout))
    assert not lost.exists()
    assert setup(checkout) == (0, [])


def test_an_environment_that_sees_the_systems_packages_is_made_anew(made):
    config = made / ".venv" / "pyvenv.cfg"
    assert "include-system-site-packages = false" in config.read_text()
    config.write_text(config.read_text().replace("= false", "= true"))
    assert setup(made) == (0, first_run(made))
    assert "include-system-site-packages = false" in config.read_text()


def test_an_environment_that_cannot_be_made_is_one_line(checkout):
    (checkout / ".venv").touch()
    code, (begun, failed) = setup(checkout)
    assert (code, begun) == (1, making(checkout))
    assert failed.startswith(f"podwire setup: python3 -m venv could not make {checkout}/.venv: ")


def test_a_full_disk_is_one_line(checkout):
    (checkout / ".venv").mkdir()
    with disk(checkout / ".venv", "size=1m"):
        code, (begun, failed) = setup(checkout)
    assert (code, begun) == (1, making(checkout))
    assert failed.startswith(f"podwire setup: python3 -m venv could not make {checkout}/.venv: ")
    assert "No space left on device" in failed


def test_a_read_only_disk_is_one_line(checkout):
    (checkout / ".venv").mkdir()
    with disk(checkout / ".venv", "ro"):
        text = f"{checkout}/.venv is on a read-only disk: make it writable and run this again"
        assert setup(checkout) == (1, [f"podwire setup: {text}"])


def test_an_index_out_of_reach_is_one_line(made):
    (made / "requirements.lock").write_text(NOWHERE)
    here = "http://127.0.0.1:9/simple"
    code, (begun, failed) = setup(made, PIP_INDEX_URL=here, PIP_NO_INDEX="0")
    assert (code, begun) == (1, making(made))
    assert failed == (
        "podwire setup: pip could not install what requirements.lock names, because it could not "
        "reach its index: [Errno 111] Connection refused"
    )


def test_a_package_that_the_index_lacks_is_one_line(made):
    (made / "requirements.lock").write_text(NOWHERE)
    code, (begun, failed) = setup(made, PIP_NO_INDEX="1")
    assert (code, begun) == (1, making(made))
    assert failed == (
        "podwire setup: pip could not install what requirements.lock names: Could not find a "
        "version that satisfies the requirement nowhere==1.0 (from versions: none)"
    )


@pytest.fixture
def lacking(checkout):
    """A PATH on which dpkg holds nothing as installed, and apt-get does as the test says."""
    programs = checkout / "programs"
    programs.mkdir(mode=0o755)

    def path(apt_get: str) -> str:
        for name, script in (("dpkg-query", "exit 1"), ("apt-get", apt_get)):
            (programs / name).write_text(f"#!/bin/sh\n{script}\n")
            (programs / name).chmod(0o755)
        return f"{programs}:{os.environ['PATH']}"

    return path


def packages(lines):
    assert lines[0].startswith("podwire setup: installing busybox-static ")
    return lines[0].removeprefix("podwire setup: installing ")


def test_an_archive_out_of_reach_is_one_line(checkout, lacking):
    failure = "Failed to fetch http://deb.example/x  Temporary failure resolving 'deb.example'"
    script = (
        f'if [ "$1" = update ]; then echo "W: {failure}" >&2; echo "W: Some index files" >&2; '
        'else echo "E: Unable to locate package iproute2" >&2; exit 100; fi'
    )
    code, lines = setup(checkout, PATH=lacking(script))
    text = f"podwire setup: apt-get could not install {packages(lines)}: {failure}"
    assert (code, lines[1:]) == (1, [text])


def test_an_interrupted_dpkg_is_one_line_with_the_remedy(checkout, lacking):
    remedy = "dpkg was interrupted, you must manually run 'dpkg --configure -a'"
    script = f'[ "$1" = update ] || {{ echo "E: {remedy}" >&2; exit 100; }}'
    code, lines = setup(checkout, PATH=lacking(script))
    text = f"podwire setup: apt-get could not install {packages(lines)}: {remedy}"
    assert (code, lines[1:]) == (1, [text])


def test_missing_packages_take_root(checkout, lacking):
    code, (line,) = setup(checkout, *NOBODY, PATH=lacking("exit 1"))
    assert code == 1
    assert line.startswith("podwire setup: missing Debian packages busybox-static ")
    assert line.endswith(": run this once with sudo")
