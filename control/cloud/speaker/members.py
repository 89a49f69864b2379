"""Which of the nodes that announce are dead, by their heartbeats. Pure.

Only who announces an address beats, and only who leads is expected to: silence of the others means
nothing. Time is counted in this speaker's own ticks, each after it has read what had arrived. So a
machine that stops for seconds, with all its nodes, finds nobody dead when it goes on.
"""

from collections.abc import Collection

TICK_SECONDS = 0.2
SILENT_TICKS = 4  # moved within a second: four ticks, and the announcement


class Members:
    """The silence of nodes."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._silence: dict[str, int] = {}  # of those expected to beat, in ticks
        self._dead: set[str] = set()

    @property
    def dead(self) -> frozenset[str]:
        """The nodes that were expected to beat, and did not; until they beat."""
        return frozenset(self._dead)

    def heard(self, node: str) -> bool:
        """Note a heartbeat; return True if the node was dead."""
        if node in self._silence:
            self._silence[node] = 0
        if node in self._dead:
            self._dead.discard(node)
            return True
        return False

    def expect(self, leaders: Collection[str]) -> None:
        """Expect these nodes to beat from now on, and no others."""
        wanted = {*leaders} - {self._me}
        self._silence = {node: self._silence.get(node, 0) for node in wanted}

    def tick(self) -> frozenset[str]:
        """Count one tick; return the nodes that died by it."""
        for node in self._silence:
            self._silence[node] += 1
        died = {n for n, t in self._silence.items() if t >= SILENT_TICKS} - self._dead
        self._dead |= died
        return frozenset(died)

    def forget(self, known: Collection[str]) -> None:
        """Forget all nodes but these."""
        self._dead &= {*known}
