"""Leads a frame over a bridge: through the rules, if the bridge shows them its frames.

Source: net/bridge/br_netfilter_hooks.c; what a program does instead is in neighbors.h.
"""

from debug.explain.here import Here, Then, prefixed
from debug.explain.programs import Programs
from debug.explain.result import Branch
from debug.explain.space import Space
from debug.explain.steps import Steps
from debug.explain.wires import Bridge
from debug.ruleset.packet import State
from debug.ruleset.values import Hook


class Bridges:
    """The bridges on a packet's way."""

    def __init__(self, programs: Programs, steps: Steps) -> None:
        self._programs, self._steps = programs, steps

    def over(self, passed: Bridge, then: Then) -> Then:
        """Return what leads a frame over a bridge: through the rules, if the bridge calls them."""
        space, bridge = passed.space, passed.link.device

        def go(here: Here) -> Branch:
            if not space.calls_rules(bridge, here.state.packet.version):
                if self._programs.run_on(space) and self._needs_node(space, here):
                    at = here.at(space=space)
                    hop = self._steps.hop(at, "bridge", "eBPF: to the node's rules", ())
                    return prefixed([hop], self._steps.receive(here, space, bridge))
                return then(here)
            state = State(
                here.state.packet,
                iif=bridge,
                open_port=here.state.open_port,
                bridged=True,
                port_in=passed.port_in.device,
            )
            before = here.at(space=space, state=state)
            on = lambda one: self._bridged(before, one, passed, then)  # noqa: E731
            return self._steps.hook(before, Hook.PREROUTING, on)

        return go

    def _needs_node(self, space: Space, here: Here) -> bool:
        """Return True if a bridge's program gives a frame to the node's rules (neighbors.h).

        Where there are policies it does so only with what it does not admit, as the rules do not.
        """
        from proxy.policy.render import TABLE  # only in mode ebpf

        tables = {name for _, name in space.rules.tables}
        return here.at(space=space).is_translated() or TABLE in tables

    def _bridged(self, before: Here, here: Here, passed: Bridge, then: Then) -> Branch:
        """Go on over a bridge, unless a rule has sent the packet elsewhere."""
        if here.state.packet.destination != before.state.packet.destination:
            return self._steps.route(here.with_state(bridged=False, port_in=None))
        on = here.with_state(oif=here.state.iif, port_out=passed.port_out.device)
        last = lambda one: then(one.remembering())  # noqa: E731
        return self._steps.hook(
            on, Hook.FORWARD, lambda one: self._steps.hook(one, Hook.POSTROUTING, last)
        )
