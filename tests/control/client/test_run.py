"""How a component runs: its signals, its log, and how often it looks for garbage."""

import gc
import logging

from control.client.process import run


def test_a_component_looks_seldom_for_garbage():
    before, root = gc.get_threshold(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    seen: list[int] = []

    async def work() -> None:
        seen.extend(gc.get_threshold())

    try:
        run(work())
    finally:
        gc.set_threshold(*before)
        root.handlers, root.level = handlers, level
    assert all(now > was for now, was in zip(seen, (700, 10, 10), strict=True))
