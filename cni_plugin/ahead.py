"""Operations that another thread does while this one finds out what the others are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from cni_plugin.kernel import REVERTED, Kernel
from cni_plugin.ops import Op
from cni_plugin.world import World


class Ahead:
    """``done`` are those that are done; to be looked at after ``finish`` only."""

    def __init__(self, kernel: Kernel, ops: Sequence[Op], world: World) -> None:
        self.done: list[Op] = []
        self._kernel, self._ops = kernel, ops
        self._future = world.aside(self._do) if ops and world.aside else None

    def _do(self) -> None:
        for op in self._ops:
            self._kernel.do(op)
            self.done.append(op)

    def finish(self) -> None:
        """Wait for them, and raise what they raise; what no thread was free for is not done."""
        if self._future is not None and not self._future.cancel():
            self._future.result()

    def revert(self) -> None:
        """Undo what is done."""
        with suppress(Exception):  # it was raised already, or something else before it
            self.finish()
        for op in reversed(self.done):
            if isinstance(op, REVERTED):
                self._kernel.revert(op)
