"""Building images: the archive is an OCI layout that the store takes, with the settings in it."""

import json
import os
import tarfile

import pytest
from click.testing import CliRunner

from control.runtime.images.build import BuildConfig, BuildError, build, read_config
from control.runtime.images.cli import main
from control.runtime.images.store import ImageStore

CONFIG = """\
entrypoint: [/bin/app, --serve]
command: ["8080"]
environment: {B: "2", A: x y}
directory: /srv
user: "1000:1000"
stopSignal: SIGINT
labels: {a: b}
"""


@pytest.fixture
def root(tmp_path):
    """A root folder with a program, a link, and an owner."""
    folder = tmp_path / "root"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/app").write_bytes(b"\x7fELF...")
    (folder / "bin/sh").symlink_to("app")
    os.link(folder / "bin/app", folder / "bin/again")
    os.chown(folder / "bin/app", 7, 8)
    (folder / "bin/app").chmod(0o4755)
    os.mkfifo(folder / "pipe")
    return folder


def podwire_image(*words):
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert not done.exception or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_what_is_built_is_what_the_store_finds(root, tmp_path):
    (tmp_path / "c.yaml").write_text(CONFIG)
    code, said = podwire_image(
        *("build", "app:1", root, "--config", tmp_path / "c.yaml"),
        *("--image-dir", tmp_path / "images"),
    )
    assert code == 0, said
    identity, config = ImageStore(tmp_path / "images").find("app:1")
    assert said.startswith(f"docker.io/library/app:1  {identity[:19]}")
    assert (config.entrypoint, config.command) == (("/bin/app", "--serve"), ("8080",))
    assert config.environment == ("A=x y", "B=2")
    assert (config.directory, config.user, config.stop_signal) == ("/srv", "1000:1000", "SIGINT")
    copy = tmp_path / "images/docker.io%2Flibrary%2Fapp%3A1/rootfs"
    assert (copy / "bin/app").stat().st_mode & 0o7777 == 0o4755
    assert (copy / "bin/app").stat().st_uid == 7
    assert (copy / "bin/app").stat().st_ino == (copy / "bin/again").stat().st_ino
    assert str((copy / "bin/sh").readlink()) == "app"
    assert (copy / "pipe").is_fifo()


def test_the_same_folder_makes_the_same_archive_and_its_name_is_in_it(root, tmp_path):
    for name in ("1.tar", "2.tar"):
        assert podwire_image("build", "app", root, "-o", tmp_path / name)[0] == 0
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()
    with tarfile.open(tmp_path / "1.tar") as tar:
        index = json.load(tar.extractfile("index.json"))
    assert index["manifests"][0]["annotations"] == {
        "org.opencontainers.image.ref.name": "docker.io/library/app:latest"
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.tar", "2.tar", "root"]


def test_a_text_is_a_command_of_the_shell(tmp_path):
    (tmp_path / "c.yaml").write_text("command: exec app --all")
    assert read_config(tmp_path / "c.yaml").command == ["/bin/sh", "-c", "exec app --all"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cmd: [a]", "cmd: Extra inputs are not permitted; known are entrypoint, command, "),
        ("directory: srv", "directory: String should match pattern"),
        ("command: 7", "command: Input should be a valid list"),
        ("environment: [A=b]", "environment: Input should be a valid dict"),
        ('user: "a\\0b"', "has a NUL character"),
        ("[]", "the file: Input should be a valid dictionary"),
        ("a: &a [1]\nb: *a", "it has an alias"),
        ("[" * 9000, "nested over 8 levels"),
        ("a: [", "while parsing"),
        ("#" * (1 << 21), "over 1 MiB"),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path, text, says):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(BuildError, match=f"c.yaml: .*{says}"):
        read_config(tmp_path / "c.yaml")


def test_what_is_no_root_is_refused_and_nothing_is_written(root, tmp_path):
    (root / "bin/app").write_bytes(b"#!/bin/sh")
    code, said = podwire_image("build", "app", root, "-o", tmp_path / "a.tar")
    assert (code, "no program in it" in said) == (1, True)
    assert podwire_image("build", "a b", root)[0] == 1
    assert not (tmp_path / "a.tar").exists()


def test_an_archive_inside_of_the_image_is_refused(root):
    with pytest.raises(BuildError, match="it would be a part of the image"):
        build(root, BuildConfig(), "app", root / "a.tar")
