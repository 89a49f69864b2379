"""Unpacking layers: whiteouts, what leads out, what is damaged, and archives made by chance."""

import gzip
import io
import stat
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.runtime.images import archive
from control.runtime.images.tape import Budget, HostileArchiveError
from tests.support.control.archives import in_frames, member, only_words, tar, with_window, zstd


def unpack(target, *layers, budget=None):
    target.mkdir(exist_ok=True)
    budget = budget or Budget()
    return [
        archive.unpack_layer(io.BufferedReader(io.BytesIO(layer)), target, budget)
        for layer in layers
    ]


def files_in(root):
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize("squeeze", [gzip.compress, in_frames], ids=["gzip", "zstd"])
def test_layers_on_top_of_each_other(tmp_path, squeeze):
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
    unpack(root, first, squeeze(second))
    assert files_in(root) == {"a/y", "b/new", "c/d", "l", "h"}
    assert (root / "l").readlink() == Path("/etc/passwd")
    assert (root / "h").stat().st_ino == (root / "a/y").stat().st_ino
    assert (root / "c").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("marker", ["a/.wh..wh..opq", ".wh.a", ".wh..wh..opq"])
def test_a_whiteout_hides_lower_layers_in_any_order(tmp_path, marker):
    """OCI image-spec, layer.md: it does not apply to files of its own layer."""
    lower = tar(member("a/old", b"1"), member("a/d/old", b"1"), member("a/e/old", b"1"))
    upper = tar(member("a/new", b"2"), member("a/d/new", b"2"), member(marker))
    unpack(tmp_path / "root", lower, upper)
    assert files_in(tmp_path / "root") == {"a/new", "a/d/new"}
    assert not (tmp_path / "root/a/e").exists()


@pytest.mark.parametrize(
    "layer",
    [
        tar(member("../evil", b"x")),
        tar(member("a/../../evil", b"x")),
        tar(member("h", kind=tarfile.LNKTYPE, link="../secret")),
        tar(member("h", kind=tarfile.LNKTYPE, link="secret")),
        tar(member("h", kind=tarfile.LNKTYPE, link="")),
        tar(member("d", kind=tarfile.DIRTYPE), member("h", kind=tarfile.LNKTYPE, link="d")),
        tar(
            member("d", kind=tarfile.SYMTYPE, link=".."),
            member("h", kind=tarfile.LNKTYPE, link="d/secret"),
        ),
        tar(member(".wh..")),
        tar(member("a/.wh...")),
    ],
    ids=only_words,
)
def test_members_outside_the_image_are_refused(tmp_path, layer):
    (tmp_path / "secret").write_text("s")
    with pytest.raises(HostileArchiveError):
        unpack(tmp_path / "root", layer)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "secret"]
    assert (tmp_path / "secret").read_text() == "s"
    assert (tmp_path / "secret").stat().st_nlink == 1


@pytest.mark.parametrize("goal", ["/", "..", "../../..", "/proc/self/cwd"])
def test_a_hostile_link_stays_inside_the_image(tmp_path, goal):
    """A file through a link is written inside the image, or the image is refused."""
    outside = tmp_path / "outside"
    outside.mkdir()
    link = goal if goal != "/proc/self/cwd" else str(outside)
    layers = tar(member("d", kind=tarfile.SYMTYPE, link=link), member("d/outside/evil", b"x"))
    with suppress(HostileArchiveError, OSError):
        unpack(tmp_path / "root", layers)
    assert list(outside.iterdir()) == []


def test_devices_are_left_out(tmp_path):
    disk = member("dev/sda", kind=tarfile.BLKTYPE)
    unpack(tmp_path / "root", tar(disk, member("dev/null", kind=tarfile.CHRTYPE), member("ok")))
    found = {path.name for path in (tmp_path / "root").rglob("*")}
    assert "ok" in found and not found & {"sda", "null"}


def with_pax(name, **pairs):
    info, data = member(name)
    info.pax_headers = pairs
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as file:
        file.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def test_a_time_that_no_disk_holds_is_the_epoch(tmp_path):
    unpack(
        tmp_path / "root", *(with_pax(f"f{when}", mtime=when) for when in ("1e300", "nan", "-5"))
    )
    assert {path.stat().st_mtime for path in (tmp_path / "root").iterdir()} == {0}


def raw(name, kind, size, data=b""):
    """A member whose header lies about its size."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    padded = data + bytes(-len(data) % 512)
    return info.tobuf(tarfile.GNU_FORMAT) + padded


DEEP = "/".join("d" for _ in range(200))


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (raw("x", tarfile.XHDTYPE, 1 << 33), "a header has more than 1048576 bytes"),
        (raw("x", tarfile.GNUTYPE_LONGNAME, 1 << 33), "a header has more than 1048576 bytes"),
        (raw("x", tarfile.XHDTYPE, 0) * 3000, "too many headers in one|more than 1048576"),
        (raw("x", tarfile.REGTYPE, 1 << 20), "unexpected end of data"),
        (tar(member("a", b"1"))[:1024] + b"#" * 512, "a header is not one of tar's"),
        (with_pax("f", size="-512"), "leads backward|damaged"),
        (with_pax("f", uid="99999999999"), "owner out of range: 99999999999:"),
        (with_pax("f", **{"GNU.sparse.map": "0,1,5,9", "GNU.sparse.size": "99"}), "is sparse"),
        (tar(member("/".join("d" for _ in range(300)))), "or 256 folders"),
        (tar(member("n" * 5000)), "more than 4096 bytes"),
        (
            tar(
                member(f"{DEEP}/x"),
                member("s", kind=tarfile.SYMTYPE, link=DEEP),
                member(f"s/{DEEP}/y"),
            ),
            "nested 400 deep",
        ),
        (gzip.compress(tar(member("f")))[:-4], "is damaged: Compressed file ended"),
        (gzip.compress(tar(member("f")))[:-8] + bytes(8), "is damaged: CRC check failed"),
        (b"BZh9" + bytes(600), "compressed by bzip2"),
        (zstd.compress(tar(member("f")))[:-4], "is damaged: Compressed file ended"),
        (zstd.compress(tar(member("f"))) + b"more", "is damaged: .* Unknown frame descriptor"),
        (with_window(28), "is damaged: .* requires too much memory"),
    ],
    ids=only_words,
)
def test_what_would_hang_or_fill_the_memory_is_refused(tmp_path, layer, why):
    with pytest.raises(HostileArchiveError, match=why):
        unpack(tmp_path / "root", layer)


def test_an_image_has_so_many_files_and_bytes(tmp_path):
    """Also those that gzip makes of little, and over all layers together."""
    layer = gzip.compress(tar(member("f", bytes(1 << 20))))
    budget = Budget(most_bytes=3 << 20, most_members=10)
    with pytest.raises(HostileArchiveError, match="more than 10 files or 3145728 bytes"):
        unpack(tmp_path / "root", layer, layer, layer, budget=budget)
    with pytest.raises(HostileArchiveError, match="more than 2 files"):
        unpack(tmp_path / "two", tar(member("a"), member("b"), member("c")), budget=Budget(9999, 2))


NAMES = st.lists(
    st.sampled_from(["a", "b", "..", ".", "", ".wh.a", ".wh..wh..opq"]), min_size=1, max_size=4
).map("/".join)
KINDS = [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
MEMBERS = st.builds(member, NAMES, st.just(b"x"), st.sampled_from(KINDS), NAMES)
WITHOUT_DATA = {tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE}


def whole(items):
    return tar(
        *(
            member(i.name, b"" if i.type in WITHOUT_DATA else d, i.type, i.linkname)
            for i, d in items
        )
    )


def attempt(folder, layers):
    """Unpack; refusals are well. Nothing may be left outside of the root."""
    with suppress(HostileArchiveError, OSError):
        unpack(folder / "root", *layers)
    assert [path.name for path in folder.iterdir()] == ["root"]
    for path in (folder / "root").rglob("*"):
        assert not stat.S_ISCHR(path.lstat().st_mode)


@given(layers=st.lists(st.lists(MEMBERS, max_size=6).map(whole), max_size=3))
def test_no_members_reach_outside(tmp_path_factory, layers):
    attempt(tmp_path_factory.mktemp("any"), layers)


BASE = tar(member("a", b"1"), member("d/b", bytes(700)), member("n" * 150, b"2"))
FRAMES = in_frames(BASE)


def test_what_zstd_compressed_is_bounded_as_well(tmp_path):
    """Content by its bytes, and frames, which take long and may be empty, as files."""
    large = zstd.compress(tar(member("f", bytes(1 << 20))))
    with pytest.raises(HostileArchiveError, match="or 3145728 bytes"):
        unpack(tmp_path / "large", large, large, large, budget=Budget(3 << 20, 10))
    frames = in_frames(tar(member("f", bytes(5000)))) + zstd.compress(b"") * 100
    unpack(tmp_path / "enough", frames, budget=Budget(most_members=150))
    with pytest.raises(HostileArchiveError, match="more than 100 files"):
        unpack(tmp_path / "many", frames, budget=Budget(most_members=100))


@given(
    flips=st.lists(st.tuples(st.integers(0, len(BASE) - 1), st.integers(1, 255)), max_size=8),
    cut=st.integers(0, len(BASE)),
    squeeze=st.sampled_from([bytes, gzip.compress, in_frames]),
)
def test_a_damaged_archive_is_refused_or_unpacked(tmp_path_factory, flips, cut, squeeze):
    """Nothing else is raised, and nothing hangs."""
    data = bytearray(BASE)
    for place, change in flips:
        data[place] ^= change
    layer = bytes(data[: cut or None])
    attempt(tmp_path_factory.mktemp("any"), [squeeze(layer)])


@given(
    flips=st.lists(st.tuples(st.integers(0, len(FRAMES) - 1), st.integers(1, 255)), max_size=4),
    cut=st.integers(0, len(FRAMES)),
)
def test_damaged_frames_are_refused_or_unpacked(tmp_path_factory, flips, cut):
    data = bytearray(FRAMES)
    for place, change in flips:
        data[place] ^= change
    attempt(tmp_path_factory.mktemp("any"), [bytes(data[: cut or None])])


def test_hard_links_to_what_a_lower_layer_has(tmp_path):
    linked = tar(member("b", kind=tarfile.LNKTYPE, link="./a"))
    unpack(tmp_path / "root", tar(member("a", b"1")), linked)
    assert (tmp_path / "root/a").samefile(tmp_path / "root/b")
