"""Services of a machine that is no Node."""

from debug.views.join import NodeState, join
from proxy.backends.installed import Layer
from tests.support.views import STATE


def test_of_a_machine_without_a_node_nothing_is_called_wrong() -> None:
    """As with --here where the Node has another name: local policies would all be."""
    found = join([NodeState("stranger", (Layer("nftables", {}, ()),))], STATE)
    (node,) = found.nodes
    assert node.faults == ("the API has no Node of this name, so nobody knows what should be here",)
    assert found.frontends == ()
