"""The Python client in a runtime's folder: it has a home where it can have one."""

from __future__ import annotations

from pathlib import Path

import pytest

from cni_plugin.admin.install import remove
from cni_plugin.admin.standalone import HOME, PROGRAM, put_python_client


def first_line(program: Path) -> str:
    return program.read_text().partition("\n")[0]


def test_what_is_put_again_is_there_once_and_all_of_it_goes(tmp_path):
    program = tmp_path / PROGRAM
    for _ in range(2):
        put_python_client(program)
    assert first_line(program) == f"#!{tmp_path}/{HOME}/python3 -IS"
    assert {path.name for path in tmp_path.iterdir()} == {PROGRAM, HOME}
    assert remove(tmp_path, tmp_path) == [program, tmp_path / HOME]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["with space", "x" * 127, "naïve"])
def test_a_folder_that_no_first_line_can_name_gets_the_program_alone(tmp_path, name):
    program = tmp_path / name / PROGRAM
    put_python_client(program)
    assert first_line(program) == "#!/usr/bin/python3 -IS"
    assert list(program.parent.iterdir()) == [program]


def test_a_link_to_the_folder_is_no_part_of_the_first_line(tmp_path):
    """The runtime may see the folder where we do not see the link."""
    (tmp_path / "link").symlink_to(tmp_path / "folder", target_is_directory=True)
    (tmp_path / "folder").mkdir()
    put_python_client(tmp_path / "link" / PROGRAM)
    assert first_line(tmp_path / "folder" / PROGRAM) == f"#!{tmp_path}/folder/{HOME}/python3 -IS"
