"""Importing images: root folders, layouts, archives of docker, and hostile documents."""

import asyncio
import gzip
import hashlib
import json
import os
import stat
import subprocess
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from control.agent.node.images import reported
from control.runtime.base import ContainerRuntimeError
from control.runtime.builtin.images import LocalImages
from control.runtime.images import tools
from control.runtime.images.cli import main
from control.runtime.images.store import Image, ImageError, ImageStore
from tests.support.control.archives import in_frames, member, only_words, tar
from tests.support.control.layouts import (
    ARCH,
    DOCKER_ZSTD,
    KINDS,
    OCI,
    blob,
    config_of,
    digest_of,
    manifest_of,
    oci,
    write_index,
)


def images_of(images):
    """Return what a Node reports of the built-in runtime's images."""
    return reported(asyncio.run(LocalImages(SimpleNamespace(list=lambda: images)).images()))


def names_in(folder):
    return sorted(path.name for path in Path(folder).iterdir())


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


@pytest.mark.parametrize("kind", [f"{OCI}.layer.v1.tar+zstd", DOCKER_ZSTD], ids=["oci", "docker"])
def test_layers_that_zstd_compressed(tmp_path, store, kind):
    """As `docker buildx build --output type=oci,compression=zstd` writes them."""
    layer = tar(member("f", bytes(5000)))
    squeezed = in_frames(layer)
    source = tmp_path / "image"
    manifest = manifest_of(source, squeezed, config=config_of(layer), of_layer={"mediaType": kind})
    store.add("x:1", write_index(source, blob(source, "manifest", manifest)))
    assert Path(store.find("x:1")[1].root, "f").read_bytes() == bytes(5000)


def docker(config, *members, **changes):
    """Return what docker save writes, with one layer in l/layer.tar."""
    row = {"Config": "c.json", "RepoTags": ["x:1"], "Layers": ["l/layer.tar"]} | changes
    manifest = member("manifest.json", json.dumps([row]).encode())
    return tar(manifest, member(row["Config"], config), *members)


@pytest.mark.parametrize(
    "squeezed", [bytes, gzip.compress, in_frames], ids=["plain", "gzip", "zstd"]
)
def test_a_docker_save_archive(tmp_path, store, squeezed):
    layer = tar(member("f", b"1"))
    inner = {"Entrypoint": ["/e"], "Env": ["A=1"], "User": "5", "Cmd": None}
    config = json.dumps(config_of(layer, config=inner)).encode()
    path = tmp_path / "image.tar"
    path.write_bytes(squeezed(docker(config, member("l/layer.tar", layer))))
    image = store.add("x:1", path)
    found = store.find("x:1")[1]
    assert (found.entrypoint, found.environment, found.user) == (("/e",), ("A=1",), "5")
    assert found.command == () and names_in(found.root) == ["f"]
    assert image.id == digest_of(config) == store.find("x:1")[0]


def test_layers_that_two_images_of_docker_share_are_links(tmp_path, store):
    layer = tar(member("f", b"1"))
    config = json.dumps(config_of(layer)).encode()
    path = tmp_path / "image.tar"
    link = member("l/layer.tar", kind=tarfile.SYMTYPE, link="../k/layer.tar")
    path.write_bytes(docker(config, link, member("k/layer.tar", layer)))
    assert names_in(store.find(store.add("x", path).name)[1].root) == ["f"]


def program(path):
    path.write_bytes(b"\x7fELF")
    path.chmod(0o755)


def test_a_root_folder(tmp_path, store):
    (tmp_path / "root/bin").mkdir(parents=True)
    program(tmp_path / "root/bin/sh")
    store.add("base", tmp_path / "root")
    assert names_in(store.find("base")[1].root) == ["bin"]
    (tmp_path / "link").symlink_to("root")
    store.add("linked", tmp_path / "link")
    assert names_in(store.find("linked")[1].root) == ["bin"]


def test_a_full_disk_is_one_line_however_many_files_do_not_fit(tmp_path):
    (tmp_path / "root").mkdir()
    program(tmp_path / "root/app")
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
        (b"nonsense", "is no tar archive, or damaged: truncated header$"),
        (tar(member("x")), "neither an OCI layout"),
        (tar(member("index.json", b"{}")), "neither an OCI layout"),
        (tar(member("manifest.json", b"[]")), "0 images instead of exactly one"),
        (tar(member("manifest.json", b'[{"Config": "c"}]')), "c is missing"),
        (tar(member("manifest.json", b"[" * 100_000)), "manifest.json: Invalid JSON: recursion"),
        (b"\xfd7zXZ\0 rest", "is compressed by xz, .*: compress it by gzip .*, by zstd"),
        (b"\x28\xb5\x2f\xfd rest", "is damaged: "),
        (gzip.compress(tar(member("x")))[:-9], "is damaged: Compressed file ended"),
    ],
    ids=only_words,
)
def test_files_that_are_not_images(tmp_path, store, content, why):
    path = tmp_path / "x.tar"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=why):
        store.add("app", path)
    assert list((tmp_path / "store/.data").iterdir()) == []


LAYER = tar(member("bin/x", b"#!", mode=0o755))
OTHER = {"os": "linux", "architecture": "pdp11"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"config": config_of()}, "has 1 layers, and 0 by its configuration's diff_ids"),
        ({"config": config_of(b"else")}, "uncompressed its content is sha256:.*by the conf"),
        ({"config": config_of(LAYER, **OTHER)}, f"is for linux/pdp11, .* is linux/{ARCH}$"),
        ({"config": config_of(LAYER, config={"Env": "A=1"})}, "config.Env: Input should be a"),
        ({"config": config_of(LAYER, config={"Cmd": ["a\0b"]})}, "config.Cmd.0: .*NUL"),
        ({"of_config": {"size": 5}}, "is damaged: more than 5 bytes"),
        ({"of_config": {"size": 1 << 40}}, "has 1099511627776 bytes, more than 4194304"),
        ({"of_config": {"mediaType": "application/vnd.helm"}}, "is no container image, but has"),
        ({"of_layer": {"size": 1 << 40}}, "10240 bytes instead of 1099511627776"),
        ({"of_layer": {"size": -1}}, "layers.0.size: Input should be greater"),
        ({"of_layer": {"size": "7"}}, "layers.0.size: Input should be a valid int"),
        ({"of_layer": {"size": 7}}, "layer .*: is damaged: more than 7 bytes"),
        ({"of_layer": {"digest": "sha256:../../x"}}, "layers.0.digest: String should match"),
        ({"of_layer": {"digest": f"sha256:{'0' * 64}"}}, "0000 is missing"),
        ({"of_layer": {"mediaType": "text/plain"}}, "has the unknown type 'text/plain'"),
    ],
)
def test_manifests_that_lie_are_refused_and_leave_nothing(tmp_path, store, changes, why):
    folder = tmp_path / "image"
    manifest = manifest_of(folder, LAYER, **changes)
    write_index(folder, blob(folder, "manifest", manifest))
    with pytest.raises(ImageError, match=why):
        store.add("app", folder)
    assert store.list() == () and list((tmp_path / "store/.data").iterdir()) == []


def nested(folder, levels):
    found = blob(folder, "manifest", manifest_of(folder, LAYER))
    for _ in range(levels):
        found = blob(folder, "index", {"manifests": [found]})
    return [found]


@pytest.mark.parametrize(
    ("manifests", "why"),
    [
        (lambda _: [], "no manifest for linux/.*, only for: none"),
        (lambda path: nested(path, 6), "has more than 4 indexes in each other"),
        (lambda path: nested(path, 0) + nested(path, 1), "describes 2 images instead of exactly"),
        (lambda path: [nested(path, 0)[0] | {"platform": OTHER}], "only for: linux/pdp11"),
        (lambda path: [nested(path, 0)[0] | {"mediaType": "text/plain"}], "unknown type 'text"),
        (
            lambda path: [
                blob(path, "manifest", manifest_of(path, LAYER) | {"mediaType": KINDS["index"]})
            ],
            "says to be .*index.*, its descriptor .*manifest",
        ),
        (
            lambda path: [
                blob(path, "manifest", manifest_of(path, LAYER) | {"manifests": nested(path, 0)})
            ],
            "manifests: Input should be null",
        ),
    ],
)
def test_indexes_that_lie_are_refused(tmp_path, store, manifests, why):
    folder = tmp_path / "image"
    write_index(folder, *manifests(folder))
    with pytest.raises(ImageError, match=why):
        store.add("app", folder)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_what_docker_names_by_a_digest_has_it(tmp_path, store, algorithm):
    layer = tar(member("f"))
    digest = hashlib.new(algorithm, layer).hexdigest()
    config = json.dumps(config_of(layer)).encode()
    path = tmp_path / "image.tar"
    name = f"blobs/{algorithm}/{digest}"
    path.write_bytes(docker(config, member(name, layer), Layers=[name]))
    store.add("good", path)
    path.write_bytes(docker(config, member(name, layer + bytes(512)), Layers=[name]))
    with pytest.raises(ImageError, match=f"layer {name}: is damaged: its content is {algorithm}:"):
        store.add("bad", path)


def test_the_files_of_a_layout_are_files_below_it(tmp_path, store):
    """A FIFO is not waited for, and a link does not lead out."""
    folder = oci(tmp_path / "image", LAYER)
    (folder / "index.json").rename(tmp_path / "index.json")
    with pytest.raises(ImageError, match=r"index.json is missing: No such file"):
        store.add("app", folder)
    (folder / "index.json").symlink_to(tmp_path / "index.json")
    with pytest.raises(ImageError, match=r"index.json is missing: No such file"):
        store.add("app", folder)
    (folder / "index.json").unlink()
    os.mkfifo(folder / "index.json")
    with pytest.raises(ImageError, match=r"index.json is not a file"):
        store.add("app", folder)


@pytest.mark.parametrize("folder", ["/etc", "/proc/self/attr"])
def test_a_folder_that_is_no_root_is_refused_with_the_remedy(tmp_path, store, folder):
    done = CliRunner().invoke(main, ["import", "x", folder, "--image-dir", str(tmp_path / "s")])
    assert done.exit_code == 1
    assert f"{folder}: is no root file system" in done.output
    assert "name the folder in which the image's bin or usr is" in done.output
    assert list((tmp_path / "s/.data").iterdir()) == []


def test_a_folder_that_holds_the_store_is_refused(tmp_path):
    (tmp_path / "root/var").mkdir(parents=True)
    program(tmp_path / "root/app")
    with pytest.raises(ImageError, match="holds the image store"):
        ImageStore(tmp_path / "root/var").add("x", tmp_path / "root")


def test_the_size_counts_a_file_with_many_names_once(tmp_path, store):
    root = tmp_path / "root"
    root.mkdir()
    program(root / "app")
    (root / "big").write_bytes(bytes(100_000))
    for number in range(50):
        (root / f"again{number}").hardlink_to(root / "big")
    size = store.add("x", root).size
    assert 100_000 <= size < 200_000


def test_devices_of_a_root_folder_are_left_out(tmp_path, store):
    root = tmp_path / "root"
    root.mkdir()
    program(root / "app")
    os.mknod(root / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    assert names_in(store.find(store.add("x", root).name)[1].root) == ["app"]


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
        program(folder / f"f{number}")
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
    archive = tmp_path / "tools.tar"
    written = run(main, ["make-tools", "-o", str(archive), *where])
    assert written.output == f"docker.io/podwire/tools:latest  {archive}\n"
    same = run(main, ["import", "same", str(archive), *where])
    assert same.exit_code == 0, same.output
    assert run(main, ["remove", "same", *where]).exit_code == 0
    head, line = run(main, ["list", *where]).output.splitlines()
    assert head.split() == ["NAME", "ID", "SIZE"] and len(head) == len(line)
    (row,) = json.loads(run(main, ["list", "-o", "json", *where]).output)
    assert row["name"] == "docker.io/podwire/tools:latest"
    assert run(main, ["remove", "podwire/tools", *where]).exit_code == 0
    bad = run(main, ["import", "x", str(tmp_path), *where, "--bad"])
    assert bad.exit_code == 2
    failed = run(main, ["import", "UPPER", str(tmp_path), *where])
    assert failed.exit_code == 1 and "is not an image reference" in failed.output


def test_an_image_with_several_names(tmp_path):
    """A row for each name in the list, one entry in a Node; the image goes with its last name."""
    where, run = ["--image-dir", str(tmp_path / "store")], CliRunner().invoke
    for name, text in (("first", "1"), ("other", "2")):
        (tmp_path / name).mkdir()
        program(tmp_path / name / "app")
        (tmp_path / name / "text").write_text(text)
    ids = {}
    for name, root in (("a", "first"), ("b", "first"), ("c", "other")):
        made = json.loads(
            run(main, ["import", name, str(tmp_path / root), "-o", "json", *where]).output
        )
        assert made["name"] == f"docker.io/library/{name}:latest" and made["size"] > 0
        ids[name] = made["id"]
    assert ids["a"] == ids["b"] != ids["c"]
    rows = json.loads(run(main, ["list", "-o", "json", *where]).output)
    assert [row["id"] for row in rows] == [ids["a"], ids["b"], ids["c"]]
    (tmp_path / "store/docker.io%2Flibrary%2Fd%3Alatest").symlink_to("none")  # leads nowhere
    store = ImageStore(tmp_path / "store")
    shown = {tuple(one.names): one.size_bytes for one in images_of(store.list())}
    assert [*map(len, shown)] == [2, 1] and min(shown.values()) > 0
    gone = run(main, ["remove", "a", "none", "-o", "json", *where])
    assert json.loads(gone.stdout) == [
        {"name": "docker.io/library/a:latest", "removed": True},
        {"name": "docker.io/library/none:latest", "removed": False},
    ]
    assert [one.id for one in store.list()] == [ids["b"], ids["c"]]


def test_a_node_reports_the_50_largest_images_and_5_names_of_each():
    images = [
        Image(f"i{number}:{tag}", f"sha256:{number}", Path("/"), number)
        for number in range(60)
        for tag in range(7)
    ]
    shown = images_of(images)
    assert [one.size_bytes for one in shown] == [*range(59, 9, -1)]
    assert shown[0].names == [f"i59:{tag}" for tag in range(5)]


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
    (tmp_path / "root").mkdir()
    program(tmp_path / "root/app")
    for words in (["make-tools"], ["import", "x", str(tmp_path / "root")], ["remove", "x"]):
        done = CliRunner().invoke(main, [*words, *where])
        assert (done.exit_code, text in done.output) == (1, True), done.output
        assert "Errno" not in done.output


def test_tools_has_applets_and_a_server(tmp_path):
    tools.fill(tmp_path, Path("/bin/busybox"))
    assert (tmp_path / "bin/sh").readlink() == Path("busybox")
    assert os.access(tmp_path / "bin/serve", os.X_OK)
