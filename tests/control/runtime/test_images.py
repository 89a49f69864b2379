"""Importing images: layouts, layers, and hostile archives."""

import gzip
import hashlib
import io
import json
import os
import platform
import subprocess
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from control.runtime.base import ContainerRuntimeError
from control.runtime.images import archive, tools
from control.runtime.images.cli import main
from control.runtime.images.store import ImageError, ImageStore

ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def member(name, data=b"", kind=tarfile.REGTYPE, link="", mode=0o644):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, len(data), mode
    info.uid, info.gid = os.getuid(), os.getgid()
    return info, data


def tar(*members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for info, data in members:
            file.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def unpack(target, *layers):
    target.mkdir(exist_ok=True)
    for layer in layers:
        archive.unpack_layer(io.BytesIO(layer), target)


def test_layers_on_top_of_each_other(tmp_path):
    root = tmp_path / "root"
    first = tar(member("a/x", b"1"), member("a/y", b"2"), member("b/z", b"3"), member("c", b"4"))
    second = tar(
        member("a/.wh.x"),
        member("b/.wh..wh..opq"),
        member("b/new", b"5"),
        member("c", kind=tarfile.DIRTYPE, mode=0o700),
        member("c/d", b"6"),
        member("l", kind=tarfile.SYMTYPE, link="/etc/passwd"),
        member("h", kind=tarfile.LNKTYPE, link="a/y"),
    )
    unpack(root, first, gzip.compress(second))
    found = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}
    assert found == {"a/y", "b/new", "c/d", "l", "h"}
    assert (root / "l").readlink() == Path("/etc/passwd")
    assert (root / "h").stat().st_ino == (root / "a/y").stat().st_ino
    assert (root / "c").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "layer",
    [
        tar(member("../evil", b"x")),
        tar(member("a/../../evil", b"x")),
        tar(member("h", kind=tarfile.LNKTYPE, link="../secret")),
        tar(member(".wh..")),
        tar(member("a/.wh...")),
    ],
)
def test_members_outside_the_image_are_refused(tmp_path, layer):
    (tmp_path / "secret").write_text("s")
    with pytest.raises((archive.HostileArchiveError, OSError)):
        unpack(tmp_path / "root", layer)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "secret"]
    assert (tmp_path / "secret").read_text() == "s"


@pytest.mark.parametrize("goal", ["/", "..", "../../..", "/proc/self/cwd"])
def test_a_hostile_link_stays_inside_the_image(tmp_path, goal):
    """A file through a link is written inside the image, or the image is refused."""
    outside = tmp_path / "outside"
    outside.mkdir()
    link = goal if goal != "/proc/self/cwd" else str(outside)
    layers = tar(member("d", kind=tarfile.SYMTYPE, link=link), member("d/outside/evil", b"x"))
    with suppress(archive.HostileArchiveError, OSError):
        unpack(tmp_path / "root", layers)
    assert list(outside.iterdir()) == []


def test_devices_are_left_out(tmp_path):
    disk = member("dev/sda", kind=tarfile.BLKTYPE)
    unpack(tmp_path / "root", tar(disk, member("dev/null", kind=tarfile.CHRTYPE), member("ok")))
    found = {path.name for path in (tmp_path / "root").rglob("*")}
    assert "ok" in found and not found & {"sda", "null"}


def names_in(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def blob(folder, data):
    digest = hashlib.sha256(data).hexdigest()
    (folder / "blobs/sha256").mkdir(parents=True, exist_ok=True)
    (folder / "blobs/sha256" / digest).write_bytes(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


def oci(folder, *layers, config=None):
    folder.mkdir()
    config = {"architecture": ARCH, "os": "linux", "config": config or {"Cmd": ["/bin/x"]}}
    manifest = {
        "schemaVersion": 2,
        "config": blob(folder, json.dumps(config).encode()),
        "layers": [blob(folder, layer) for layer in layers],
    }
    inner = {
        "manifests": [
            blob(folder, b'{"layers":[]}') | {"platform": {"os": "linux", "architecture": "other"}},
            blob(folder, json.dumps(manifest).encode())
            | {"platform": {"os": "linux", "architecture": ARCH}},
        ]
    }
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (folder / "index.json").write_text(
        json.dumps({"manifests": [blob(folder, json.dumps(inner).encode())]})
    )
    return folder


def packed(folder):
    path = folder.with_suffix(".tar")
    subprocess.run(["tar", "-C", folder, "-cf", path, "."], check=True)
    return path


@pytest.fixture
def store(tmp_path):
    return ImageStore(tmp_path / "store")


@pytest.mark.parametrize("shape", [lambda path: path, packed], ids=["folder", "tar"])
def test_an_oci_layout(tmp_path, store, shape):
    source = shape(
        oci(tmp_path / "image", tar(member("bin/x", b"#!", mode=0o755)), tar(member("y")))
    )
    image = store.add("app", source)
    found_id, config = store.find("docker.io/library/app:latest")
    assert found_id == image.id and config.command == ("/bin/x",)
    assert names_in(config.root) == ["bin", "y"]
    assert [it.name for it in store.list()] == ["docker.io/library/app:latest"]


def test_a_docker_save_archive(tmp_path, store):
    config = json.dumps(
        {"os": "linux", "config": {"Entrypoint": ["/e"], "Env": ["A=1"], "User": "5"}}
    )
    manifest = json.dumps([{"Config": "c.json", "RepoTags": ["x:1"], "Layers": ["l/layer.tar"]}])
    path = tmp_path / "image.tar"
    path.write_bytes(
        tar(
            member("manifest.json", manifest.encode()),
            member("c.json", config.encode()),
            member("l/layer.tar", tar(member("f", b"1"))),
        )
    )
    store.add("x:1", path)
    found = store.find("x:1")[1]
    assert (found.entrypoint, found.environment, found.user) == (("/e",), ("A=1",), "5")


def test_a_root_folder(tmp_path, store):
    (tmp_path / "root/bin").mkdir(parents=True)
    (tmp_path / "root/bin/sh").write_text("x")
    store.add("base", tmp_path / "root")
    assert names_in(store.find("base")[1].root) == ["bin"]
    (tmp_path / "link").symlink_to("root")
    store.add("linked", tmp_path / "link")
    assert names_in(store.find("linked")[1].root) == ["bin"]


def test_a_full_disk_is_one_line_however_many_files_do_not_fit(tmp_path):
    (tmp_path / "root").mkdir()
    for name in "abc":
        (tmp_path / "root" / name).write_bytes(bytes(100_000))
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
    try:
        with pytest.raises(ImageError, match=r"No space left on device$") as refused:
            ImageStore(disk).add("base", tmp_path / "root")
        assert ImageStore(disk).list() == ()
    finally:
        subprocess.run(["umount", disk], check=True)
    assert "\n" not in str(refused.value)


def test_a_damaged_image_is_refused_and_leaves_nothing(tmp_path, store):
    folder = oci(tmp_path / "image", tar(member("x")))
    for path in (folder / "blobs/sha256").iterdir():
        if path.stat().st_size > 1000:
            path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(ImageError, match="is damaged"):
        store.add("app", folder)
    assert store.list() == () and list((tmp_path / "store/.data").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"nonsense", "neither a folder nor a tar archive$"),
        (tar(member("x")), "neither an OCI layout"),
        (tar(member("manifest.json", b"[]")), "exactly one image"),
        (tar(member("index.json", b"{}")), "no manifest for linux"),
        (
            tar(member("index.json", b'{"manifests":[{"digest":"sha256:../../x"}]}')),
            "not one of sha256",
        ),
    ],
)
def test_sources_that_are_not_images(tmp_path, store, content, why):
    path = tmp_path / "x.tar"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=why):
        store.add("app", path)


def test_a_missing_image_says_how_to_import_it(store):
    with pytest.raises(
        ContainerRuntimeError, match="podwire image import app DIR-OR-ARCHIVE"
    ) as caught:
        store.find("app")
    assert caught.value.reason == "ErrImagePull"
    with pytest.raises(ContainerRuntimeError) as caught:
        store.find("UPPER")
    assert caught.value.reason == "InvalidImageName"


def test_replacing_and_removing(tmp_path, store):
    for number in (1, 2):
        folder = tmp_path / f"root{number}"
        folder.mkdir()
        (folder / f"f{number}").touch()
        store.add("app", folder)
    assert names_in(store.find("app")[1].root) == ["f2"]
    assert len(list((tmp_path / "store/.data").iterdir())) == 1
    assert store.remove("app") and not store.remove("app")
    assert store.list() == () and list((tmp_path / "store/.data").iterdir()) == []


def test_the_command_line(tmp_path):
    where = ["--image-dir", str(tmp_path / "store")]
    run = CliRunner().invoke
    made = run(main, ["make-tools", *where])
    assert made.exit_code == 0 and made.output.strip() == "docker.io/podwire/tools:latest"
    head, line = run(main, ["list", *where]).output.splitlines()
    assert head.split() == ["NAME", "ID", "SIZE"] and len(head) == len(line)
    (row,) = json.loads(run(main, ["list", "-o", "json", *where]).output)
    assert row["name"] == "docker.io/podwire/tools:latest"
    assert run(main, ["remove", "podwire/tools", *where]).exit_code == 0
    bad = run(main, ["import", "x", str(tmp_path), *where, "--bad"])
    assert bad.exit_code == 2
    failed = run(main, ["import", "UPPER", str(tmp_path), *where])
    assert failed.exit_code == 1 and "is not an image reference" in failed.output


@pytest.mark.parametrize(
    ("busybox", "why"),
    [
        ("/none", "/none cannot be run: No such file or directory; install"),
        ("/bin/false", "/bin/false is not busybox: it does not list applets; install"),
    ],
)
def test_a_file_that_is_not_busybox_is_named(tmp_path, busybox, why):
    flags = ["make-tools", "--busybox", busybox, "--image-dir", str(tmp_path)]
    done = CliRunner().invoke(main, flags)
    assert (done.exit_code, why in done.output) == (1, True), done.output


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    where = ["--image-dir", str(tmp_path / "file/store")]
    text = f"Not a directory: {tmp_path}/file/store"
    for words in (["make-tools"], ["import", "x", str(tmp_path)], ["remove", "x"]):
        done = CliRunner().invoke(main, [*words, *where])
        assert (done.exit_code, text in done.output) == (1, True), done.output
        assert "Errno" not in done.output


def test_tools_has_applets_and_a_server(tmp_path):
    tools.fill(tmp_path, Path("/bin/busybox"))
    assert (tmp_path / "bin/sh").readlink() == Path("busybox")
    assert os.access(tmp_path / "bin/serve", os.X_OK)
