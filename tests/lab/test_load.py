"""``lab load``: which node gets which image, from archives and from this machine's own store."""

import gzip
import io
import json
import sys
from types import SimpleNamespace

import pytest

from control.runtime.images.store import ImageError, ImageStore
from lab.load import load_one
from lab.state import LabDir
from tests.support.control.archives import member, tar
from tests.support.control.layouts import blob, config_of, digest_of, manifest_of, write_index

NODES = ["node1", "node2"]
NAMED = "org.opencontainers.image.ref.name"


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A lab's folders; this machine has the image shared:1."""
    made = LabDir(tmp_path / "lab")
    for node in NODES:
        made.loaded_images(node).mkdir(parents=True)
    monkeypatch.setattr("lab.load.IMAGES", tmp_path / "images")
    ImageStore(tmp_path / "images").add_tree("shared:1", lambda _: None, {"id": "sha256:0"})
    return made


def layer(text):
    return tar(member("bin/x", text.encode(), mode=0o755))


def archive(folder, **images):
    """Write an OCI archive with an image for each name=content; a name may be none."""
    entries = []
    for name, text in images.items():
        entry = blob(folder, "manifest", manifest_of(folder, layer(text)))
        entries.append(entry | {"annotations": {NAMED: name.replace("__", ":")}})
    write_index(folder, *entries)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    path = folder.with_suffix(".tar")
    path.write_bytes(tar(*(member(str(f.relative_to(folder)), f.read_bytes()) for f in files)))
    return path


def docker_archive(path, text, *tags):
    content = layer(text)
    config = json.dumps(config_of(content)).encode()
    manifest = [{"Config": "c.json", "Layers": ["l.tar"], "RepoTags": tags}]
    path.write_bytes(
        tar(
            member("c.json", config),
            member("l.tar", content),
            member("manifest.json", json.dumps(manifest).encode()),
        )
    )
    return path, digest_of(config)


def load(lab, source, nodes=NODES, alias=""):
    found = load_one(lab, str(source), list(nodes), alias)
    return [(one.name, one.loaded, one.present) for one in found]


def content(lab, node, name):
    images = {image.name: image for image in ImageStore(lab.loaded_images(node)).list()}
    return images[name].folder / "rootfs/bin/x"


def test_an_archive_reaches_every_node_and_is_on_the_disk_once(lab, tmp_path):
    file = archive(tmp_path / "a", a__1="one", b__2="two")
    assert load(lab, file) == [
        ("docker.io/library/a:1", NODES, []),
        ("docker.io/library/b:2", NODES, []),
    ]
    first, second = (content(lab, node, "docker.io/library/b:2") for node in NODES)
    assert first.read_text() == "two"
    assert first.stat().st_ino == second.stat().st_ino


def test_what_a_node_has_is_not_copied_again(lab, tmp_path):
    file = archive(tmp_path / "a", a__1="one")
    assert load(lab, file, ["node2"]) == [("docker.io/library/a:1", ["node2"], [])]
    before = content(lab, "node2", "docker.io/library/a:1").stat().st_ino
    assert load(lab, file) == [("docker.io/library/a:1", ["node1"], ["node2"])]
    assert content(lab, "node2", "docker.io/library/a:1").stat().st_ino == before
    assert load(lab, archive(tmp_path / "b", a__1="changed")) == [
        ("docker.io/library/a:1", NODES, [])
    ]
    assert content(lab, "node2", "docker.io/library/a:1").read_text() == "changed"


def test_an_image_of_this_machine_is_on_every_node_but_where_another_has_its_name(lab, tmp_path):
    assert load(lab, "shared:1") == [("docker.io/library/shared:1", [], NODES)]
    load(lab, archive(tmp_path / "a", shared__1="other"), ["node1"])
    assert load(lab, "shared:1") == [("docker.io/library/shared:1", ["node1"], ["node2"])]
    own = ImageStore(lab.loaded_images("node1"), tmp_path / "images")
    assert own.find("shared:1")[0] == "sha256:0"


@pytest.mark.parametrize("squeezed", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_docker_archives_from_standard_input(lab, tmp_path, monkeypatch, squeezed):
    path, identity = docker_archive(tmp_path / "d.tar", "three", "a:1", "x.example/b:2")
    stream = io.BufferedReader(io.BytesIO(squeezed(path.read_bytes())))
    pipe = SimpleNamespace(buffer=stream, isatty=lambda: False)
    monkeypatch.setattr(sys, "stdin", pipe)
    names = ["docker.io/library/a:1", "x.example/b:2"]
    assert load(lab, "-") == [(name, NODES, []) for name in names]
    assert ImageStore(lab.loaded_images("node1")).find("a:1")[0] == identity
    assert sorted(path.name for path in lab.path.iterdir()) == ["machines"]


def test_another_name_for_the_only_image(lab, tmp_path):
    untagged, _ = docker_archive(tmp_path / "d.tar", "three")
    with pytest.raises(ImageError, match=r"d.tar: has an image without a name, .*: use --as NAME"):
        load(lab, untagged)
    assert load(lab, untagged, alias="y:3") == [("docker.io/library/y:3", NODES, [])]
    only_tag = archive(tmp_path / "t", latest="four")
    with pytest.raises(ImageError, match="use --as NAME"):
        load(lab, only_tag)
    with pytest.raises(ImageError, match="has 2 images, and --as names one"):
        load(lab, archive(tmp_path / "a", a__1="one", b__2="two"), alias="y")


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("nosuch:1", "neither such an image nor such a file: podwire image pull nosuch:1"),
        ("UPPER", "no such file, and it is no image's name"),
        ("junk", "is no tar archive"),
        ("folder", "neither an OCI layout"),
    ],
)
def test_what_cannot_be_loaded_is_named_and_leaves_nothing(lab, tmp_path, monkeypatch, source, why):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "junk").write_bytes(b"x" * 2000)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ImageError, match=why):
        load(lab, source)
    assert ImageStore(lab.loaded_images("node1")).list() == ()


def test_a_damaged_layer_leaves_nothing(lab, tmp_path):
    file = archive(tmp_path / "a", a__1="one")
    file.write_bytes(file.read_bytes().replace(b"one", b"two"))
    with pytest.raises(ImageError, match="is damaged"):
        load(lab, file)
    for node in NODES:
        assert list(lab.loaded_images(node).glob(".data/*")) == []
