"""vagrant/: what Ruby, Vagrant and shellcheck say of its files."""

import os
import shutil
from pathlib import Path

import pytest

from tests.support.e2e.harness import CHECKOUT, run

FOLDER = CHECKOUT / "vagrant"
RUBY = [FOLDER / "Vagrantfile", *sorted(FOLDER.glob("*.rb"))]
SHELL = [FOLDER / "bundle", *sorted(FOLDER.glob("provision/*.sh"))]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the folder: Vagrant writes into it."""
    ignored = shutil.ignore_patterns(".lab*", ".vagrant*")
    return Path(shutil.copytree(FOLDER, tmp_path / "vagrant", ignore=ignored))


def vagrant(folder: Path, *words: str, **more: str) -> tuple[int, str]:
    home = {"HOME": str(folder.parent), "VAGRANT_HOME": str(folder.parent / "home")}
    env = os.environ | home | {"VAGRANT_CHECKPOINT_DISABLE": "1"} | more
    done = run("vagrant", *words, cwd=folder, env=env)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("path", RUBY, ids=lambda path: path.name)
def test_ruby_reads_it_without_a_warning(path: Path) -> None:
    done = run("ruby", "-wc", path)
    assert (done.stdout, done.stderr) == ("Syntax OK\n", "")


def test_vagrant_accepts_the_lab(copied: Path) -> None:
    code, said = vagrant(copied, "validate", "--ignore-provider")
    assert code == 0 and "Vagrantfile validated successfully." in said, said
    assert [f"==> node{number}:" in said for number in (1, 2, 3, 4)] == [True, True, True, False]
    (copied / "lab.yaml").write_text("version: 1\nworkers: 3\nprovider: virtualbox\n")
    code, said = vagrant(copied, "validate", "--ignore-provider")
    assert code == 0 and "==> node4:" in said, said
    planes = "controlPlane: {machines: 3, store: etcd}"
    (copied / "lab.yaml").write_text(f"version: 1\nworkers: 1\nprovider: virtualbox\n{planes}\n")
    code, said = vagrant(copied, "validate", "--ignore-provider")
    assert code == 0 and "==> node4:" in said, said


def test_vagrant_says_what_is_wrong_with_the_settings(copied: Path) -> None:
    (copied / "lab.yaml").write_text("version: 1\netcd: {}\n")
    code, said = vagrant(copied, "validate", "--ignore-provider")
    assert code != 0
    (line,) = (each for each in said.splitlines() if "lab.yaml: " in each)
    assert "etcd: there is no such field: write `controlPlane: " in line


def test_shellcheck_finds_nothing() -> None:
    done = run("shellcheck", *SHELL)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_scripts_can_be_executed(path: Path) -> None:
    assert os.access(path, os.X_OK)
