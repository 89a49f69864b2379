"""Places that are looked up again: a node that was started again has other namespaces."""

import time
from collections.abc import Callable, Iterator

from debug.places import Ground, Place, PlaceError

_EVERY = 1.0  # seconds from one look to the next at least


class Again:
    """The places of a cluster by what they are now, for commands that go on.

    ``look`` finds them; ``node`` restricts to one. Raises PlaceError if that cannot be at first.
    """

    def __init__(self, look: Callable[[], Ground], node: str = "") -> None:
        self._look, self._node = look, node
        self._fault = ""
        self._then = time.monotonic()
        self.ground = look()
        if node:
            self.ground.node(node)

    def places(self) -> tuple[Place, ...]:
        """Return all places, or those of the one node."""
        return tuple(one for one in self.ground.places if self._node in ("", one.node))

    def nodes(self) -> tuple[Place, ...]:
        """Return the nodes' own namespaces, or that of the one node."""
        return tuple(one for one in self.places() if one.pod is None)

    def refresh(self) -> list[str]:
        """Look again, if the last look is some time ago; return in words which nodes changed."""
        if time.monotonic() - self._then < _EVERY:
            return []
        before, fault = self.nodes(), self._fault
        try:
            self.ground, self._fault = self._look(), ""
        except PlaceError as err:  # such as a whole lab that was stopped
            self.ground, self._fault = Ground((), self.ground.kubeconfig), str(err)
        self._then = time.monotonic()
        told = list(changes(before, self.nodes()))
        return [*told, *([self._fault] if self._fault not in ("", fault) else [])]


def changes(before: tuple[Place, ...], after: tuple[Place, ...]) -> Iterator[str]:
    """Yield which nodes went, came, or were started again."""
    old, new = ({one.node: one for one in places} for places in (before, after))
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            yield f"Node {name} does not run any more"
        elif name not in old:
            yield f"Node {name} runs now"
        elif old[name] != new[name]:
            yield f"Node {name} was started again"
