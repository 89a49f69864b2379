"""The manual pages: ``man`` finds them, they agree with --help, and are well-formed."""

import os
import subprocess
from pathlib import Path

import click
import pytest

from lab.main import COMMANDS
from lab.manuals import write_pages

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPTS = CHECKOUT / ".venv" / "bin"


def man(*words, **environment):
    done = subprocess.run(
        ["man", *words], capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "MANWIDTH": "200", **environment},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("share") / "man1"
    write_pages(made)
    return made


@pytest.mark.parametrize("page", ["podwire", "podwire-lab", "podwire-lab-up", "podwire-proxy"])
def test_man_finds_a_page_of_whoever_has_the_launcher_on_the_path(page):
    code, text, complaint = man("-P", "cat", page, PATH=f"{os.environ['PATH']}:{SCRIPTS}")
    assert (code, complaint) == (0, "")
    assert text.startswith(f"{page.upper()}(1)")
    assert "SYNOPSIS" in text


def test_every_command_has_a_page_that_names_its_options(folder):
    names = {path.stem for path in folder.iterdir()}
    assert {"podwire"} | {f"podwire-{name}" for name in COMMANDS} <= names
    assert {"podwire-lab-set-proxy", "podwire-cni-install", "podwire-proxy-top"} <= names
    text = man("-l", "-P", "cat", str(folder / "podwire-lab-up.1"))[1]
    assert "--dual-stack" in text
    assert "[default: iptables]" in text


def test_a_page_refers_to_pages_that_are_there(folder):
    for path in folder.iterdir():
        for line in path.read_text().splitlines():
            if line.lstrip().startswith("See "):
                name = line.partition(r"\fB")[2].partition("(")[0]
                assert (folder / f"{name}.1").exists(), f"{path.name}: {line}"


def test_no_page_makes_groff_complain_or_shows_a_control_character(folder):
    for path in folder.iterdir():
        code, text, complaints = man("--warnings", "-l", "-P", "cat", str(path))
        assert (code, complaints) == (0, ""), path.name
        assert "\x08\n" not in path.read_text()
        assert click.unstyle(text).isprintable() or "\n" in text


def test_pages_of_commands_that_went_are_removed(folder):
    old = folder / "podwire-went.1"
    foreign = folder / "scapy.1"
    for path in (old, foreign):
        path.touch()
    write_pages(folder)
    assert (old.exists(), foreign.exists()) == (False, True)
    foreign.unlink()


def test_a_run_that_was_cut_short_is_made_up_for(tmp_path):
    """By the page of podwire itself bin/manuals sees whether all are new."""
    (tmp_path / "podwire-lab.1").mkdir()  # no page can be put there
    with pytest.raises(IsADirectoryError):
        write_pages(tmp_path)
    assert (tmp_path / "podwire-proxy.1").exists() and not (tmp_path / "podwire.1").exists()
