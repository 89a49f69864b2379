"""The Debian packages that podwire needs: found, missing, installed."""

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lab import needs
from lab.main import main


@pytest.fixture
def without_ip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which one program is missing, and whose PATH has a folder of the test."""
    listed = tmp_path / "list"
    listed.write_text(
        "# name, sign, purpose\nprocps true x\niproute2 ip-of-podwire a lab's links\n"
    )
    monkeypatch.setattr(needs, "_LIST", listed)
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setattr(needs, "_PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return programs


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def setup(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["setup", *arguments])


def test_this_machine_has_every_package() -> None:
    assert needs.missing() == ()
    assert {package.name for package in needs.packages()} >= {"iproute2", "nftables", "libbpf1"}


def test_a_library_that_cannot_be_loaded_is_missing() -> None:
    assert not needs.Package("libnone", "libnone.so.1", "nothing").is_installed


def test_check_names_what_is_missing_and_installs_nothing(without_ip: Path) -> None:
    script(without_ip / "apt-get", f"touch {without_ip}/asked")
    done = setup("--check")
    assert done.exit_code == 1
    assert "missing Debian packages: iproute2; install them with: sudo podwire setup" in done.output
    assert not (without_ip / "asked").exists()


def test_what_is_missing_is_installed_once(without_ip: Path) -> None:
    script(
        without_ip / "apt-get",
        f'echo "$@" >> {without_ip}/asked\ntouch {without_ip}/ip-of-podwire\n'
        f"chmod +x {without_ip}/ip-of-podwire",
    )
    assert setup("-o", "json").exit_code == 0
    rows = json.loads(setup("-o", "json").stdout)
    assert [row["installed"] for row in rows] == [True, True]
    asked = (without_ip / "asked").read_text().splitlines()
    assert len(asked) == 2, "an update and an installation"
    assert asked[1].endswith("install --yes --no-install-recommends iproute2")


def test_an_apt_get_that_fails_is_one_line(without_ip: Path) -> None:
    script(without_ip / "apt-get", "exit 100")
    done = setup()
    assert done.exit_code == 1
    assert "apt-get could not install iproute2" in done.output
    assert "Traceback" not in done.output


def test_a_lab_does_not_begin_without_them(without_ip: Path) -> None:
    done = CliRunner().invoke(main, ["lab", "up", "--name", "none"])
    assert done.exit_code == 1
    assert "Error: missing Debian packages: iproute2" in done.output
