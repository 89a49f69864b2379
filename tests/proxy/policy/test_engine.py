"""The engine's loop without a kernel behind it."""

import asyncio
from contextlib import asynccontextmanager, nullcontext

from proxy.linux.nft_events import NftEvent, NftEventKind, NftListener
from proxy.model.errors import KernelRefusedError
from proxy.model.settings import ProxySettings
from proxy.model.values import NodeView
from proxy.objects.feed import KeptObject
from proxy.policy import kernel
from proxy.policy.drops.watch import DropWatch
from proxy.policy.engine import PolicyEngine, Surroundings
from proxy.policy.kernel import RuleChange
from proxy.policy.values import Policy, Selector
from tests.support.proxy.told import Told


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


async def test_a_table_that_the_kernel_does_not_let_clear_is_deleted(monkeypatch):
    """Another program may have made the set of taken addresses, which is kept, of another type."""
    begun: list[str] = []

    def commit(change: RuleChange) -> None:
        begun.append(change.text.partition("\n")[0])
        if begun[-1] == "clear":
            raise KernelRefusedError("File exists")

    monkeypatch.setattr(kernel, "clearing", lambda _: "clear\n")
    monkeypatch.setattr(kernel, "deletion", lambda _: "delete\n")
    around = Surroundings(lambda: NodeView("n1"), ProxySettings, lambda: None)
    engine = PolicyEngine(None, around, Told(), DropWatch())
    monkeypatch.setattr(engine._frames, "look", lambda: (False, None))
    monkeypatch.setattr(engine._writer, "commit", commit)
    monkeypatch.setattr("proxy.policy.engine._FIRST_RETRY", 0)
    await engine._sync(engine._write)
    engine._rulesets = None  # others decide on frames now, for instance
    monkeypatch.setattr(kernel, "clearing", lambda _: "clear again\n")
    await engine._sync(engine._write)
    engine._taken.close()
    assert begun == ["clear", "delete", "clear again"]


async def test_rules_that_are_disturbed_while_they_are_written_are_deleted(monkeypatch):
    """They were cleared: what the other program did was forgotten once they were written."""
    begun: list[str] = []

    class Events:
        deaf = nullcontext

        def read(self) -> list[NftEvent]:
            return [NftEvent(NftEventKind.LOST, False, "", "", b"")]

    async def hear() -> None:
        engine._hear()

    def commit(change: RuleChange) -> None:
        begun.append(change.text.partition("\n")[0])
        if len(begun) == 1:
            asyncio.run_coroutine_threadsafe(hear(), loop).result()

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(kernel, "clearing", lambda _: "clear\n")
    monkeypatch.setattr(kernel, "deletion", lambda _: "delete\n")
    around = Surroundings(lambda: NodeView("n1"), ProxySettings, lambda: None)
    engine = PolicyEngine(None, around, Told(), DropWatch())
    engine._events = Events()
    monkeypatch.setattr(engine._frames, "look", lambda: (False, None))
    monkeypatch.setattr(engine._writer, "commit", commit)
    await engine._sync(engine._write)
    await engine._sync(engine._write)
    engine._taken.close()
    assert begun == ["clear", "delete"]


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
    monkeypatch.setattr(PolicyEngine, "_write", lambda _: synced.set() or RuleChange())
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
