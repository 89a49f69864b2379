"""Explaining a packet while Pods end and a proxy writes its rules."""

from types import SimpleNamespace

import pytest

from debug.explain import space
from debug.explain.commands import settled
from debug.explain.space import Spaces
from debug.places import Place, PlaceError
from debug.trace.ends import EndError

NODE, GONE = Place("n1", 1, "/node"), Place("n1", 1, "/gone", ("default", "web"))


class Known:
    """A namespace with a link of number 2, which another one knows by the number 7."""

    def __init__(self, place: Place, *, asks_conntrack: bool) -> None:
        if place is GONE:
            raise PlaceError("its network is gone")
        self.fib = SimpleNamespace(links={2: "far"})

    def number_of(self, _: object) -> int:
        return 7


def test_a_pod_that_has_ended_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "KernelSpace", Known)
    spaces = Spaces((GONE, NODE))
    near = spaces.of(NODE)
    assert spaces.peer(near, SimpleNamespace(peer=2, peer_netns=7)) == (near, "far")
    assert spaces.peer(near, SimpleNamespace(peer=2, peer_netns=8)) is None


def nowhere() -> Spaces:
    return Spaces(())


def test_what_changes_while_it_is_read_is_read_again() -> None:
    tries = iter([KeyError("pick-3"), "delivered"])

    def lead(_: Spaces) -> str:
        found = next(tries)
        if isinstance(found, KeyError):
            raise found
        return found

    assert settled(nowhere, lead) == "delivered"


def test_what_never_settles_is_an_error_in_words() -> None:
    def lead(_: Spaces) -> str:
        raise KeyError("pick-3")

    with pytest.raises(EndError, match="changed in each of 3 readings"):
        settled(nowhere, lead)
