"""Commands that go on follow a node that was stopped, started again or added."""

import pytest

from debug import again as module
from debug.again import Again
from debug.places import Ground, Place, PlaceError

NODE = Place("n1", 7, "/proc/7/ns/net")
AGAIN = Place("n1", 8, "/proc/8/ns/net")
OTHER = Place("n2", 9, "/proc/9/ns/net")
POD = Place("n1", 8, "/run/netns/a", ("default", "a"))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EVERY", 0.0)


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ((NODE,), []),
        ((AGAIN, POD), ["Node n1 was started again"]),
        ((NODE, OTHER), ["Node n2 runs now"]),
        ((OTHER,), ["Node n1 does not run any more", "Node n2 runs now"]),
    ],
)
def test_what_became_of_nodes_is_told(now: tuple[Place, ...], told: list[str]) -> None:
    grounds = iter([Ground((NODE,)), Ground(now)])
    again = Again(lambda: next(grounds))
    assert again.refresh() == told
    assert again.places() == now


def test_of_one_node_nothing_else_is_told() -> None:
    grounds = iter([Ground((NODE, OTHER)), Ground((AGAIN, POD))])
    again = Again(lambda: next(grounds), "n1")
    assert again.nodes() == (NODE,)
    assert again.refresh() == ["Node n1 was started again"]
    assert (again.nodes(), again.places()) == ((AGAIN,), (AGAIN, POD))


def test_a_node_that_was_never_there_is_an_error() -> None:
    with pytest.raises(PlaceError, match="no node n3"):
        Again(lambda: Ground((NODE,)), "n3")


def test_a_lab_that_is_down_is_told_once_and_found_when_it_is_up() -> None:
    looks = iter([Ground((NODE,)), PlaceError("lab x is not up"), None, Ground((AGAIN,))])

    def look() -> Ground:
        found = next(looks)
        if not isinstance(found, Ground):
            raise PlaceError("lab x is not up")
        return found

    again = Again(look)
    assert again.refresh() == ["Node n1 does not run any more", "lab x is not up"]
    assert (again.refresh(), again.nodes()) == ([], ())
    assert again.refresh() == ["Node n1 runs now"]


def test_nobody_looks_again_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EVERY", 3600.0)
    looks = []
    again = Again(lambda: looks.append(1) or Ground((NODE,)))
    assert (again.refresh(), len(looks)) == ([], 1)
