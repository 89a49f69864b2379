"""Explaining a packet while Pods end and a proxy writes its rules."""

from types import SimpleNamespace

import pytest

from debug.explain import space
from debug.explain.commands import settled
from debug.explain.space import Spaces
from debug.places import Place, PlaceError
from debug.trace.ends import EndError

NODE, GONE = Place("n1", 1, "/node"), Place("n1", 1, "/gone", ("default", "web"))


def made(place: Place) -> SimpleNamespace:
    if place is GONE:
        raise PlaceError("its network is gone")
    return SimpleNamespace(addresses={"10.0.0.1"}, close=lambda: None)


def test_a_pod_that_has_ended_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "Space", made)
    spaces = Spaces((GONE, NODE))
    assert spaces.with_address("10.0.0.1") is spaces.of(NODE)
    assert spaces.with_address("10.0.0.2") is None


def test_what_changes_while_it_is_read_is_read_again() -> None:
    tries = iter([KeyError("pick-3"), "delivered"])

    def lead(_: Spaces) -> str:
        found = next(tries)
        if isinstance(found, KeyError):
            raise found
        return found

    assert settled((), lead) == "delivered"


def test_what_never_settles_is_an_error_in_words() -> None:
    def lead(_: Spaces) -> str:
        raise KeyError("pick-3")

    with pytest.raises(EndError, match="changed in each of 3 readings"):
        settled((), lead)
