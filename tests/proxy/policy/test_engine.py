"""The engine's loop without a kernel behind it."""

import asyncio

from proxy.policy import kernel
from proxy.policy.engine import PolicyEngine


async def test_changes_of_services_cost_nothing_without_a_policy(monkeypatch):
    asked = []
    monkeypatch.setattr(kernel, "removal", lambda: asked.append("once") or "")
    engine = PolicyEngine(None, None, None, None)
    serving = asyncio.create_task(engine._serve())
    await engine.ready.wait()
    for _ in range(5):
        engine.changed()
        for _ in range(10):  # turns of the loop: the engine needs two
            await asyncio.sleep(0)
    assert asked == ["once"]
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    engine._links.close()
    engine._events.close()
