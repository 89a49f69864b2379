"""The engine's loop without a kernel behind it."""

import asyncio
from contextlib import asynccontextmanager

from proxy.linux.nft_events import NftListener
from proxy.model.settings import ProxySettings
from proxy.model.values import NodeView
from proxy.objects.feed import KeptObject
from proxy.policy import kernel
from proxy.policy.drops.watch import DropWatch
from proxy.policy.engine import PolicyEngine, Surroundings
from proxy.policy.values import Policy, Selector


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


async def test_without_a_policy_nobody_hears_of_rules(monkeypatch):
    """Each event would be a turn of the loop: a first load of Services has tens of thousands."""
    heard: list[str] = []

    class Listener(NftListener):
        def __init__(self) -> None:
            super().__init__()
            heard.append("opened")

        def close(self) -> None:
            super().close()
            heard.append("closed")
            closed.set()

    @asynccontextmanager
    async def following(*_: object):
        yield

    synced, closed = asyncio.Event(), asyncio.Event()
    monkeypatch.setattr(kernel, "removal", lambda: "")
    monkeypatch.setattr("proxy.policy.engine.NftListener", Listener)
    monkeypatch.setattr(PolicyEngine, "_following", following)
    monkeypatch.setattr(PolicyEngine, "_write", lambda _: synced.set() or "")
    guarding = Surroundings(lambda: NodeView("n1"), ProxySettings, lambda: None)
    drops = DropWatch()
    monkeypatch.setattr(drops, "watching", following)
    engine = PolicyEngine(None, guarding, None, drops)
    serving = asyncio.create_task(engine._serve())
    await engine.ready.wait()
    assert heard == []
    value = Policy(("ns", "one"), Selector(), {})
    kept = KeptObject(("ns", "one"), "u", "1", value, ())
    engine._take_policy(None, kept)
    await synced.wait()
    assert heard == ["opened"]
    engine._take_policy(kept, None)
    await closed.wait()
    assert heard == ["opened", "closed"]
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
