"""The clients in a runtime's folder: each knows its interpreter, and Python's has a home."""

import json
import subprocess
from pathlib import Path

import pytest

from cni_plugin.admin import standalone
from cni_plugin.admin.install import remove
from cni_plugin.admin.standalone import HOME, PROGRAM, put_python_client
from tests.support.cni.runner import ROOT


def first_line(program: Path) -> str:
    return program.read_text().partition("\n")[0]


def test_a_second_install_replaces_the_first_and_remove_leaves_nothing(tmp_path):
    program = tmp_path / PROGRAM
    for _ in range(2):
        put_python_client(program)
    assert first_line(program) == f"#!{tmp_path}/{HOME}/python3 -IS"
    assert {path.name for path in tmp_path.iterdir()} == {PROGRAM, HOME}
    assert remove(tmp_path, tmp_path) == [program, tmp_path / HOME]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["with space", "x" * 127, "naïve"])
def test_a_folder_with_an_unusable_name_gets_the_program_without_a_home(tmp_path, name):
    program = tmp_path / name / PROGRAM
    put_python_client(program)
    assert first_line(program) == "#!/usr/bin/python3 -IS"
    assert list(program.parent.iterdir()) == [program]


def test_the_first_line_has_the_real_folder_not_a_link(tmp_path):
    """The runtime may see the folder, but not the link to it."""
    (tmp_path / "link").symlink_to(tmp_path / "folder", target_is_directory=True)
    (tmp_path / "folder").mkdir()
    put_python_client(tmp_path / "link" / PROGRAM)
    assert first_line(tmp_path / "folder" / PROGRAM) == f"#!{tmp_path}/folder/{HOME}/python3 -IS"


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The C client of a wheel: without any path in it."""
    folder = tmp_path / "wheel"
    subprocess.run([ROOT / "bin/compile", folder], check=True)
    monkeypatch.setattr(standalone, "c_client", lambda: folder / "podwire-cni")
    return folder


def test_an_installed_c_client_knows_its_interpreter(built: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin/podwire-cni"
    standalone.put_client(program)
    environment = {"CNI_COMMAND": "VERSION", "PODWIRE_CNI_SOCKET": "/nowhere"}
    done = subprocess.run(
        [program],
        input=b'{"cniVersion": "1.0.0"}',
        capture_output=True,
        env=environment,
        check=True,
    )
    assert "1.1.0" in json.loads(done.stdout)["supportedVersions"]


def test_a_path_longer_than_its_slot_is_refused(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standalone, "_PLUGIN", Path("/" + "x" * 1023))
    with pytest.raises(ValueError, match="at most 1023 bytes"):
        standalone.put_client(tmp_path / "bin/podwire-cni")
