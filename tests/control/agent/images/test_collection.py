"""Removal of unused images: which, in what order, and when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.agent.images.collection import (
    NO_COLLECTION,
    CollectionPolicy,
    ImageCollector,
    LastUses,
    size_text,
)
from control.agent.images.keyring import Login, SecretRef
from control.agent.images.pulled import PulledImages
from control.runtime.base import (
    Container,
    ContainerRuntimeError,
    Credentials,
    DiskSpace,
    Phase,
    PodRef,
    RuntimeState,
    StoredImage,
)


def image(name, size=10, *, pinned=False):
    return StoredImage((f"example.com/{name}:1",), size, f"sha256:{name}", pinned)


class Disk:
    """A runtime with images on a disk of 100 bytes, on which other files are too."""

    def __init__(self, *images, other=0):
        self.have, self.other, self.stuck = list(images), other, set()
        self.containers = ()

    def use(self, *marks):
        pod = PodRef("default", "web", "u")
        self.containers = tuple(
            Container(mark, "box", pod, "main", 0, Phase.EXITED, "", mark, 0.0) for mark in marks
        )

    def observe(self):
        return RuntimeState((), self.containers)

    async def images(self):
        return tuple(self.have)

    async def remove_image(self, image_id):
        if image_id in self.stuck:
            raise ContainerRuntimeError("read-only file system")
        self.have = [it for it in self.have if it.id != image_id]

    async def image_disk(self):
        return DiskSpace(100, 100 - self.other - sum(it.size for it in self.have))

    def names(self):
        return [it.id.removeprefix("sha256:") for it in self.have]


class Node:
    def __init__(self, disk, path, policy):
        self.disk, self.now, self.events = disk, 1000.0, []
        self.pulled = PulledImages(path / "image_pulls.json")
        self.collector = ImageCollector(
            disk, policy, self.pulled, lambda *event: self.events.append(event), lambda: self.now
        )

    async def after(self, seconds):
        self.now += seconds
        await self.collector.once()


@pytest.fixture
def node(tmp_path):
    return lambda disk, policy=CollectionPolicy(): Node(disk, tmp_path, policy)  # noqa: B008


async def test_the_longest_unused_go_until_the_low_threshold(node):
    disk = Disk(image("a"), image("b"), image("c"), other=50)
    found = node(disk)
    disk.use("sha256:a")
    await found.after(0)  # 80 percent: nothing happens
    disk.use("example.com/b:1")
    await found.after(60)
    disk.use("sha256:c")
    disk.other = 60
    await found.after(120)
    assert disk.names() == ["b", "c"]
    assert found.events == []


async def test_new_used_and_pinned_images_stay(node):
    disk = Disk(image("used"), image("own", pinned=True), image("old"), other=69)
    disk.use("sha256:used")
    found = node(disk)
    await found.after(0)
    disk.have.append(image("new"))
    await found.after(121)
    assert disk.names() == ["used", "own", "new"]


async def test_what_cannot_be_freed_is_an_event(node):
    disk = Disk(image("stuck", 5), image("free", 5), other=90)
    disk.stuck = {"sha256:stuck"}
    found = node(disk)
    await found.after(0)
    found.events.clear()
    await found.after(121)
    (reason, text), (second, _) = found.events
    assert (reason, second) == ("FreeDiskSpaceFailed", "ImageGCFailed")
    assert text.startswith(
        "Insufficient free disk space on the node's image filesystem (100% of 100 B used). "
        "Failed to free sufficient space by deleting unused images (freed 5 bytes)."
    )
    assert disk.names() == ["stuck"]


async def test_the_grants_of_a_removed_image_go_with_it(node):
    disk = Disk(image("a"), other=80)
    found = node(disk)
    login = Login(Credentials("ann", "p"), SecretRef("default", "pull", "u1"))
    found.pulled.pulled("example.com/a:1", "example.com/a", "sha256:a", login)
    assert not found.pulled.may_use("example.com/a:1", "example.com/a", "sha256:a", list)
    await found.after(0)
    await found.after(121)
    assert disk.names() == []
    assert found.pulled.may_use("example.com/a:1", "example.com/a", "sha256:a", list)


async def test_the_grants_of_what_is_pulled_meanwhile_stay(node):
    """Neither an image that no list had yet, nor one that was removed and is here again."""
    disk = Disk(image("again"), image("other"), other=80)
    found = node(disk)
    login = Login(Credentials("ann", "p"), SecretRef("default", "pull", "u1"))
    await found.after(0)
    remove = disk.remove_image

    async def pulled_meanwhile(image_id):
        await remove(image_id)
        for name in ("again", "new"):
            mark = f"sha256:{name}"
            found.pulled.pulled(f"example.com/{name}:1", f"example.com/{name}", mark, login)

    disk.remove_image = pulled_meanwhile
    await found.after(121)
    for name in ("again", "new"):
        known = f"example.com/{name}:1", f"example.com/{name}", f"sha256:{name}"
        assert not found.pulled.may_use(*known, list)
    disk.remove_image = remove
    disk.have = [image("last", 20)]
    await found.after(60)
    await found.after(121)
    assert found.pulled.may_use(*known, list)  # it is gone: what is imported is everybody's


async def test_what_nobody_uses_for_long_goes_although_there_is_room(node):
    disk = Disk(image("used"), image("once"), image("never"), image("pinned", pinned=True))
    found = node(disk, CollectionPolicy(high=100, most_age=1000))
    disk.use("sha256:used", "sha256:once")
    await found.after(0)
    disk.use("sha256:used")
    await found.after(1000)  # the agent is not older: who knows what was used before
    assert disk.names() == ["used", "once", "never", "pinned"]
    disk.stuck = {"sha256:once"}
    await found.after(1)
    assert disk.names() == ["used", "once", "pinned"]
    disk.stuck.clear()
    disk.other = 80  # a full disk does not matter with a threshold of 100
    await found.after(1)
    assert disk.names() == ["used", "pinned"]


async def test_a_threshold_of_100_is_never(node):
    disk = Disk(image("a"), other=90)
    await node(disk, NO_COLLECTION).collector.run()
    assert disk.names() == ["a"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 300)), max_size=20))
def test_the_order_is_that_of_the_last_use(steps):
    images, uses, last, now = [image(it) for it in "abc"], LastUses(), {}, 0
    uses.note(images, [], now)
    for name, seconds in steps:
        now += seconds + 1
        uses.note(images, [f"sha256:{name}"], now)
        last[name] = now
    found = [it.id[-1] for it in uses.unused(images, now + 1, 0)]
    assert found == sorted("abc", key=lambda it: (last.get(it, 0), it))


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1536, "1.5 KiB"), (20 << 30, "20.0 GiB"), (5 << 40, "5.0 TiB")]
)
def test_sizes_for_people(size, text):
    assert size_text(size) == text
