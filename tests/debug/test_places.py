"""Which places there are on a machine that is a node."""

import pytest

from debug.places import of_host


def test_a_node_has_the_hosts_name_as_kubelet_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Node1.Example.COM")
    assert [one.node for one in of_host().nodes()] == ["node1.example.com"]
