"""Which places there are on a machine that is a node."""

import pytest

from debug.options import decided
from debug.places import of_host


def test_a_node_has_the_hosts_name_as_kubelet_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Node1.Example.COM")
    assert [one.node for one in of_host().nodes()] == ["node1.example.com"]


def test_who_looks_again_looks_at_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of a lab that goes down must not show this machine instead."""
    up = iter([True, False])
    monkeypatch.setattr("debug.options._is_up", lambda _: next(up))
    options = decided(None, False, None)
    assert options == ("lab", False, None)
    assert decided(*options) == options
    assert decided(None, False, None) == (None, True, None)
