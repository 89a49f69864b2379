"""Packets on the page as they happen: bounded, by one window at a time, ended when it goes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from threading import Event
from typing import Any

import aiohttp
import pytest

from control.reported import ReportedError
from debug.map.service import ServiceMap
from debug.snapshot import Snapshot
from debug.trace.model import Hop, PacketTrace, Step
from debug.web.live import Listen, Source
from debug.web.packets import MOST_KEPT, Packets
from tests.support.debug.page import serving

Tell = Callable[[PacketTrace | str], None]
PACKET = PacketTrace(
    *(1, "forward", "UDP (id 7)", "arrived", "Pod b"),
    hops=(Hop("n", "Pod a", steps=(Step("out", 1.5, "eth0"),)), Hop("n", "Pod b")),
)


class Heard:
    """What listens: it tells of so many packets, then waits until it is over."""

    def __init__(self, packets: int = 1) -> None:
        self.packets = packets
        self.asked: list[str] = []
        self.ended: list[str] = []
        self.gone = Event()

    def __call__(self, text: str, tell: Tell, over: Event) -> None:
        self.asked.append(text)
        tell("listening in 2 namespaces")
        for _ in range(self.packets):
            tell(PACKET)
        over.wait()
        self.ended.append(text)
        self.gone.set()


@asynccontextmanager
async def listening(
    listen: Listen, live: str | None = ""
) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """A page that hears packets, and a browser that has used its token."""

    def nothing(_: str) -> ServiceMap:
        raise ReportedError("no Service")

    source = Source(lambda: Snapshot(""), nothing, lambda _: (), listen=listen)
    jar = aiohttp.CookieJar(unsafe=True)  # that is: of addresses, too
    async with (
        serving(source, live=live) as served,
        aiohttp.ClientSession(cookie_jar=jar) as session,
    ):
        await session.get(served.address)
        yield session, f"http://127.0.0.1:{served.port}"


async def told(stream: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async for line in stream.content:
        if line.startswith(b"data: "):
            yield line


async def batches(packets: Packets, text: str, number: int = 1) -> list[Any]:
    """The first batches that a filter gives; the listening is closed then."""
    async with aclosing(packets.heard(text)) as found:
        return [await anext(found) for _ in range(number)]


async def test_a_packet_is_a_line_that_can_be_opened_and_closing_ends_the_listening() -> None:
    heard = Heard()
    packets = Packets(heard)
    (batch,) = await batches(packets, "host a")
    assert batch.notes == ("listening in 2 namespaces",)
    (line,) = batch.packets
    assert (line.number, line.way, line.time) == (1, ("Pod a", "Pod b"), 1.5)
    assert packets.packet(1) == PACKET and packets.packet(2) is None
    assert heard.ended == ["host a"]


async def test_what_comes_too_fast_is_counted_and_what_is_old_is_not_kept() -> None:
    packets = Packets(Heard(1000))
    (batch,) = await batches(packets, "host a")
    assert (len(batch.packets), batch.missed) == (100, 900)
    await batches(packets, "host a")
    assert packets.packet(MOST_KEPT) is None and packets.packet(MOST_KEPT + 1) == PACKET


async def test_a_long_packet_is_cut() -> None:
    long = PacketTrace(1, "forward", "UDP", hops=(Hop("n", "Node n", steps=(Step("x"),) * 999),))

    def listen(_: str, tell: Tell, over: Event) -> None:
        tell(long)
        over.wait()

    packets = Packets(listen)
    await batches(packets, "host a")
    kept = packets.packet(1)
    assert kept and sum(len(hop.steps) for hop in kept.hops) == 200


async def test_who_asks_last_listens() -> None:
    heard = Heard()
    packets = Packets(heard)
    async with aclosing(packets.heard("host a")) as first:
        await anext(first)
        asked = asyncio.create_task(batches(packets, "host b"))
        last = [batch async for batch in first][-1]
        assert last.end == "another window listens now"
    assert (await asked)[0].packets
    assert heard.ended == ["host a", "host b"]


@pytest.mark.parametrize(
    ("error", "said"),
    [(ReportedError("no Pod a"), "no Pod a"), (KeyError("x"), "a defect of podwire")],
)
async def test_why_nothing_is_heard_is_told(error: Exception, said: str) -> None:
    def listen(_: str, __: Tell, ___: Event) -> None:
        raise error

    (batch,) = await batches(Packets(listen), "host a")
    assert batch.end.startswith(said)


async def test_a_window_that_goes_ends_the_listening() -> None:
    heard = Heard()
    async with listening(heard) as (session, root):
        async with session.get(f"{root}/packets", params={"filter": "host a"}) as stream:
            data = json.loads((await anext(told(stream)))[6:])
            assert data["packets"][0]["where"] == "Pod b"
            drawn = await (await session.get(f"{root}/packet.svg?number=1")).text()
            assert "Pod a: out eth0" in drawn
        await asyncio.to_thread(heard.gone.wait)
    assert heard.asked == heard.ended == ["host a"]


async def test_the_listening_ends_with_the_command() -> None:
    heard = Heard()
    packets = Packets(heard)
    async with aclosing(packets.heard("host a")) as found:
        await anext(found)
        packets.close()
        assert [batch.end async for batch in found] == ["podwire web ends"]
    assert heard.ended == ["host a"]


async def test_only_packets_that_are_kept_are_drawn() -> None:
    async with listening(Heard()) as (session, root):
        for wrong in ("", "1", "x", "-1", "²", "9" * 999):
            got = await session.get(f"{root}/packet.svg", params={"number": wrong})
            assert (got.status, await got.text()) == (
                404,
                "only the last 100 packets can be opened\n",
            )


async def test_nothing_is_heard_unless_the_command_allows_it() -> None:
    heard = Heard()
    async with listening(heard, live=None) as (session, root):
        got = await session.get(f"{root}/packets?filter=host%20a")
        assert (got.status, heard.asked) == (204, [])
        assert await (await session.get(f"{root}/about")).json() == {"mesh": False, "live": None}
