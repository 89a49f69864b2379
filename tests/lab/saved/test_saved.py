"""Saved labs: what comes back, and files that are cut, foreign, or hostile."""

import dataclasses
import gzip
import io
import os
import socket
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from control.runtime.images.store import ImageStore
from lab import published
from lab.credentials import write_credentials
from lab.folders import make_folders
from lab.goals import Goal, Published
from lab.parts import machines
from lab.resume import known_port
from lab.saved import commands, head, members
from lab.saved.read import SavedLabError, read_head
from lab.saved.write import save
from lab.spec import make_spec
from lab.state import LabDir
from lab.up import LabExistsError

SPEC = dataclasses.replace(make_spec("a", nodes=2, proxy="nftables"), counters="packets")
POD = {"spec": {"containers": [{"image": "busybox"}, {"image": "absent"}]}}


@pytest.fixture
def roots(tmp_path, monkeypatch):
    """Where labs are before the save, and after it."""
    monkeypatch.setattr("lab.saved.commands.ROOT", tmp_path / "after")
    monkeypatch.setattr("lab.state.ROOT", tmp_path / "after")
    monkeypatch.setattr("lab.saved.write.IMAGES", tmp_path / "images")
    monkeypatch.setattr("lab.down.remove_cgroups", lambda _: None)
    return tmp_path / "before", tmp_path / "after"


@pytest.fixture
def lab(roots, tmp_path):
    """The files of a lab with a volume, a Pod, and an image."""
    made = LabDir(roots[0] / "a")
    made.create(SPEC)
    write_credentials(made, SPEC, machines(SPEC), "https://127.0.0.1:4711")
    for machine in machines(SPEC):
        make_folders(made, machine)
    with closing(sqlite3.connect(made.path / head.STORE)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE log (key TEXT, revision INTEGER, value BLOB, checksum INTEGER)")
        rows = [("/registry/core/pods/x/p", 1, orjson.dumps(POD), 0), ("/registry/x", 2, b"y", 0)]
        db.executemany("INSERT INTO log VALUES (?, ?, ?, ?)", rows)
        db.commit()
    ImageStore(tmp_path / "images").add_tree("busybox", lambda _: None, {})
    return made


def volume(lab):
    path = lab.path / "machines/node1/var/volumes/v"
    path.mkdir(parents=True, exist_ok=True)
    return path


def restored(file, roots, **how):
    found = read_head(file)
    lab = LabDir(roots[1] / found.name)
    spec = commands.install(file, found, lab, replace=how.get("replace", False))
    return lab, spec


def test_a_lab_comes_back_with_its_store_keys_and_volumes(lab, roots, tmp_path):
    data = volume(lab)
    (data / ".wh.kept").write_text("no whiteout")
    (data / "owned").write_text("x")
    os.chown(data / "owned", 1000, 1000)
    (data / "owned").chmod(0o640)
    (data / "link").symlink_to("/etc/passwd")
    os.link(data / "owned", data / "second")
    published.remember(lab, Published("127.0.0.1", 8080, Goal("default", "web", "80", "tcp")))
    saved = save(lab, SPEC, tmp_path / "a.lab", running=False)
    back, spec = restored(tmp_path / "a.lab", roots)

    assert published.kept(back) == published.kept(lab) != ()
    assert spec == dataclasses.replace(SPEC, stopped=True) == back.spec()
    assert saved.left_out == []
    assert not back.keeper().alive
    same = volume(back)
    assert (same / ".wh.kept").read_text() == "no whiteout"
    assert (same / "owned").stat().st_uid == 1000
    assert (same / "owned").stat().st_mode & 0o7777 == 0o640
    assert (same / "link").readlink() == Path("/etc/passwd")
    assert (same / "second").read_text() == "x"
    for name in ("pki/ca.key", "machines/control/etc/sa.key", "machines/node2/etc/agent.crt"):
        assert (back.path / name).read_bytes() == (lab.path / name).read_bytes()
    with closing(sqlite3.connect(back.path / head.STORE)) as db:
        assert db.execute("SELECT max(revision), count(*) FROM log").fetchone() == (2, 2)
    assert known_port(back) == 4711
    assert (tmp_path / "a.lab").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("control_planes", [3])
def test_what_etcd_has_comes_back(control_planes, roots, tmp_path):
    """The members run for the save and for the restore, in networks of their own."""
    spec = make_spec("a", nodes=1, store="etcd", control_planes=control_planes)
    made = LabDir(roots[0] / "a")
    made.create(spec)
    write_credentials(made, spec, machines(spec), "https://127.0.0.1:4711")
    for machine in machines(spec):
        make_folders(made, machine)
    store = members.file_of(made)
    with closing(sqlite3.connect(store)) as db:
        db.executescript("CREATE TABLE log (key TEXT, revision INTEGER, value BLOB);")
        rows = [("/registry/core/pods/x/p", 7, orjson.dumps(POD)), ("/registry/x", 9, b"y")]
        db.executemany("INSERT INTO log VALUES (?, ?, ?)", rows)
        db.commit()
    members.from_file(made, spec)
    assert not store.exists()
    ImageStore(tmp_path / "images").add_tree("busybox", lambda _: None, {})

    save(made, spec, tmp_path / "a.lab", running=False)
    assert [image.name for image in read_head(tmp_path / "a.lab").images]
    back, found = restored(tmp_path / "a.lab", roots)
    assert found == dataclasses.replace(spec, stopped=True)
    assert not members.file_of(back).exists()
    members.to_file(back, found, tmp_path / "back.db", running=False)
    with closing(sqlite3.connect(tmp_path / "back.db")) as db:
        kept = dict(db.execute("SELECT key, value FROM log WHERE value IS NOT NULL"))
        (last,) = db.execute("SELECT max(revision) FROM log").fetchone()
    assert kept == {"/registry/core/pods/x/p": orjson.dumps(POD), "/registry/x": b"y"}
    assert last > 9


def test_commits_of_a_running_store_are_saved_with_its_log(lab, roots, tmp_path):
    with closing(sqlite3.connect(lab.path / head.STORE)) as db:
        db.execute("INSERT INTO log VALUES ('/registry/late', 3, 'z', 0)")
        db.commit()  # it is in the write-ahead log alone
        for running in (True, False):
            save(lab, SPEC, tmp_path / f"{running}.lab", running=running)
    for running in (True, False):
        back, _ = restored(tmp_path / f"{running}.lab", roots, replace=True)
        with closing(sqlite3.connect(back.path / head.STORE)) as db:
            assert db.execute("SELECT max(revision) FROM log").fetchone() == (3,)


def test_images_are_named_and_looked_for(lab, tmp_path):
    save(lab, SPEC, tmp_path / "a.lab", running=False)
    found = read_head(tmp_path / "a.lab")
    assert [image.name for image in found.images] == ["docker.io/library/busybox:latest"]
    assert commands.require_images(found, ImageStore(tmp_path / "images")) == "images"
    with pytest.raises(SavedLabError, match=r"busybox:latest; import them with: podwire image"):
        commands.require_images(found, ImageStore(tmp_path / "none"))
    other = found.model_copy(update={"images": (found.images[0].model_copy(update={"id": "x"}),)})
    assert "others than at the save" in commands.require_images(
        other, ImageStore(tmp_path / "images")
    )


def test_sockets_of_volumes_are_left_out_and_named(lab, tmp_path):
    inside = volume(lab)
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(inside)  # a socket's path is short
        try:
            server.bind("s")
        finally:
            os.chdir(here)
    assert save(lab, SPEC, tmp_path / "a.lab", running=False).left_out == [
        "lab/machines/node1/var/volumes/v/s"
    ]


def test_a_save_that_fails_leaves_the_old_file(lab, tmp_path):
    file = tmp_path / "a.lab"
    file.write_text("old")
    (lab.path / head.STORE).write_text("no database, but long enough to be read as one" * 99)
    with pytest.raises(sqlite3.Error):
        save(lab, SPEC, file, running=False)
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.glob("a.lab*")] == ["a.lab"]


def test_an_existing_lab_stays_unless_it_is_to_be_replaced(lab, roots, tmp_path):
    save(lab, SPEC, tmp_path / "a.lab", running=False)
    back, _ = restored(tmp_path / "a.lab", roots)
    (back.path / "mine").write_text("x")
    with pytest.raises(LabExistsError, match="restore --replace"):
        restored(tmp_path / "a.lab", roots)
    assert (back.path / "mine").exists()
    restored(tmp_path / "a.lab", roots, replace=True)
    assert not (back.path / "mine").exists()


def members_of(file):
    with tarfile.open(file) as tar:
        return [(info, tar.extractfile(info).read() if info.isfile() else b"") for info in tar]


def written(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return path


def member(name, content=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


LINK = {"type": tarfile.SYMTYPE, "linkname": "/etc"}


@pytest.mark.parametrize(
    ("added", "says"),
    [
        ([member("../../evil", b"x")], "leaves the image"),
        ([member("lab/machines/node3/etc/x", b"x")], "machines that are not in its lab.json"),
        ([member("lab/keeper.json", b'{"pid": 1}')], "keeper.json is no part of a lab"),
        ([member("lab/kubeconfig", b"users: []")], "kubeconfig is no part of a lab"),
        ([member("lab/machines/node1/etc", **LINK)], "node1/etc is a link"),
        ([member("lab/machines/node1/var", **LINK)], "node1/var is a link"),
        ([member("lab/pki/ca.key", **LINK)], "pki/ca.key is missing"),
        ([member("lab/machines/control/var/store.db", **LINK)], "store.db is missing"),
        ([member("lab/lab.json", b"{}")], "lab.json: "),
        ([member("lab/lab.json", b"[" * 9999)], "lab.json: "),
        ([member("lab/file.json", b'{"images": 1}')], "lab.json: "),
        ([member("lab/published.json", b'{"publish": ["x"]}')], "published.json: 'x': write it as"),
    ],
)
def test_a_hostile_file_changes_nothing(lab, roots, tmp_path, added, says):
    save(lab, SPEC, tmp_path / "a.lab", running=False)
    hostile = written(tmp_path / "b.lab", [*members_of(tmp_path / "a.lab"), *added])
    before = sorted(path for path in tmp_path.rglob("*"))
    with pytest.raises(SavedLabError, match=f"b.lab: .*{says}"):
        restored(hostile, roots)
    after = {path for path in tmp_path.rglob("*")} - set(before) - {roots[1]}
    assert after == set()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"nodes": [{"name": "../../x", "number": 1}]}, "name '../../x'"),
        ({"proxy": "evil"}, "lab.json: "),
        ({"name": "b"}, "it is of a, and has files of b"),
        ({"pod_cidrs": ["8.8.0.0/16"]}, "private ranges"),
        ({"nodes": 3}, "it is of a|machines"),
    ],
)
def test_settings_that_no_lab_has_are_refused(lab, roots, tmp_path, settings, says):
    save(lab, SPEC, tmp_path / "a.lab", running=False)
    wrong = orjson.dumps(orjson.loads((lab.path / "lab.json").read_bytes()) | settings)
    added = [*members_of(tmp_path / "a.lab"), member("lab/lab.json", wrong)]
    if settings == {"nodes": 3}:  # as an older podwire wrote it: that is no fault
        assert len(restored(written(tmp_path / "b.lab", added), roots)[1].nodes) == 3
        return
    with pytest.raises(SavedLabError, match=says):
        restored(written(tmp_path / "b.lab", added), roots)


def test_a_file_cut_anywhere_is_refused(lab, roots, tmp_path):
    save(lab, SPEC, tmp_path / "a.lab", running=False)
    whole = (tmp_path / "a.lab").read_bytes()
    for length in [*range(0, len(whole), len(whole) // 6), len(whole) - 1]:
        (tmp_path / "b.lab").write_bytes(whole[:length])
        with pytest.raises(SavedLabError, match=r"b\.lab: "):
            restored(tmp_path / "b.lab", roots)
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    (tmp_path / "b.lab").write_bytes(damaged)
    with pytest.raises(SavedLabError, match=r"damaged"):
        restored(tmp_path / "b.lab", roots)
    assert not (roots[1] / "a").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not compressed by gzip"),
        (gzip.compress(b"x" * 4096), "no saved lab"),
        ([member("other", b"x")], "first member is not podwire-lab.json"),
        ([member(head.NAME, b"{}")], "it is no saved lab"),
        ([member(head.NAME, b"[]")], "it is no saved lab"),
        ([member(head.NAME, b'{"version": 2, "podwire": "9.9"}')], "version 2, of podwire 9.9; "),
        ([member(head.NAME, b"x" * (2 << 20))], "no saved lab"),
        ([member(head.NAME, b"[" * 9999)], "no saved lab"),
    ],
)
def test_foreign_files_and_newer_ones_are_refused(tmp_path, content, says):
    file = tmp_path / "a.lab"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        written(file, content)
    with pytest.raises(SavedLabError, match=says):
        read_head(file)
