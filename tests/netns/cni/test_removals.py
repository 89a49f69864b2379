"""Concurrent removals of links, carried out together."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cni_plugin.linux.namespace import Namespace, entered
from cni_plugin.server.removal_queue import RemovalQueue
from tests.support.space import Space


@pytest.fixture
def inside(spaces: Callable[[str], Space]) -> Iterator[Namespace]:
    """Run this thread, and those that it starts, in a namespace with ten links."""
    space = spaces("host")
    for number in range(10):
        space.ip("link", "add", f"d{number}", "type", "bridge")
    descriptor = os.open(space.path, os.O_RDONLY)
    with entered(descriptor), Namespace() as host_ns:
        yield host_ns
    os.close(descriptor)


def test_concurrent_removals_all_return(inside: Namespace) -> None:
    queue = RemovalQueue()
    wanted = [["d0"], ["d1", "d2"], [], ["absent"], ["d3", "absent"], *([f"d{i}"] for i in (4, 5))]
    with ThreadPoolExecutor(len(wanted)) as pool:
        for done in [pool.submit(queue, inside, names) for names in wanted]:
            done.result(20)
    assert {link.name for link in inside.links()} == {"lo", "d6", "d7", "d8", "d9"}
    queue.close()


def test_a_refused_removal_fails_only_for_its_caller(inside: Namespace) -> None:
    queue = RemovalQueue()
    with ThreadPoolExecutor(3) as pool:
        refused = [pool.submit(queue, inside, ["lo", "d0"])]
        fine = [pool.submit(queue, inside, [f"d{number}"]) for number in (1, 2)]
        for done in fine:
            done.result(20)
        for done in refused:
            with pytest.raises(OSError, match="not supported"):
                done.result(20)
    assert {"d0", "d1", "d2"}.isdisjoint(link.name for link in inside.links())
    queue.close()
