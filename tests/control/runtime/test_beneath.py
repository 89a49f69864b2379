"""Paths below a folder: what is missing is made, and every descriptor closed."""

import os
from pathlib import Path

import pytest

from control.linux import beneath


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def volume(tmp_path):
    made = os.open(tmp_path, os.O_PATH)
    yield made
    os.close(made)


def test_what_is_missing_is_made_and_found_again(volume, tmp_path):
    for _ in range(2):
        os.close(beneath.open_sub_path(volume, "a/b"))
    assert (tmp_path / "a/b").is_dir()


def test_another_container_may_make_it_meanwhile(volume, tmp_path, monkeypatch):
    mkdir = os.mkdir

    def after_another(name: str, mode: int, *, dir_fd: int) -> None:
        mkdir(name, mode, dir_fd=dir_fd)
        mkdir(name, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", after_another)
    os.close(beneath.open_sub_path(volume, "a/b"))
    assert (tmp_path / "a/b").is_dir()


def test_a_folder_that_cannot_be_made_leaves_no_descriptor():
    system = os.open("/proc/self", os.O_PATH)
    before = descriptors()
    with pytest.raises(FileNotFoundError):  # what procfs says to mkdir
        beneath.open_sub_path(system, "absent/folder")
    assert descriptors() == before
    os.close(system)
