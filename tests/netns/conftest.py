"""The nodes and Pods of tests with real packets."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.cni.runner import Node, Pod
from tests.support.space import Space
from tests.support.spaces import spaces

__all__ = ["spaces"]


@pytest.fixture(scope="module")
def served(
    spaces: Callable[[str], Space], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    """A node with a warm CNI server."""
    made = Node(spaces("node"), tmp_path_factory.mktemp("node"))
    with made.served():
        yield made


@pytest.fixture(scope="module")
def node(served: Node) -> Node:
    """The node of the tests that have no other."""
    return served


@pytest.fixture
def pod(spaces: Callable[[str], Space], node: Node) -> Callable[[], Pod]:
    """Makes containers for the node's runtime, each with a namespace and an ID of its own."""
    return lambda: Pod(f"c{next(node.numbers)}", spaces("pod"))
