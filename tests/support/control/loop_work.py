"""Count the work of an event loop's steps: a step is what keeps everyone else waiting."""

import asyncio
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import pytest


@dataclass
class LoopWork:
    """The function calls of the step that made the most of them."""

    most: int = 0
    calls: int = 0

    def end_step(self) -> None:
        self.most, self.calls = max(self.most, self.calls), 0


@contextmanager
def counted_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopWork]:
    """Count the calls of Python and C functions in each callback of the event loop.

    There is no garbage collection meanwhile: it would call the finalizers of other tests' objects.
    """
    work = LoopWork()
    run = asyncio.Handle._run

    def count(_: FrameType, event: str, __: Any) -> None:
        work.calls += event in ("call", "c_call")

    def step(handle: asyncio.Handle) -> None:
        run(handle)
        work.end_step()

    with monkeypatch.context() as patches:
        patches.setattr(asyncio.Handle, "_run", step)
        gc.disable()
        sys.setprofile(count)
        try:
            yield work
        finally:
            sys.setprofile(None)
            gc.enable()
