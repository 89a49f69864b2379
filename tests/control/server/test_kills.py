"""kill -9 of the server under writes, again and again: what it has acknowledged is there.

A longer run: PODWIRE_KILLS=500 bin/test tests/control/server/test_kills.py --timeout=3600
"""

import asyncio
import json
import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.control.etcd import shared_etcd
from tests.support.control.requests import CORE
from tests.support.control.server_process import Process

KILLS = int(os.environ.get("PODWIRE_KILLS", "3"))
SEED = int(os.environ.get("PODWIRE_SEED", "1"))
LANES, NAMES = 8, 3
PATIENCE = 60.0
MAPS = f"{CORE}/configmaps"
Seen = tuple[str, str, str]  # of a watch: type, name, value


class Lane:
    """One client: it alone writes its ConfigMaps, and knows what each must be."""

    def __init__(self, number: int, session: aiohttp.ClientSession, acknowledged: list[Seen]):
        self._session, self._chance = session, random.Random(f"{SEED} {number}")
        self._names = [f"m{number}-{n}" for n in range(NAMES)]
        self.values: dict[str, str | None] = dict.fromkeys(self._names)
        self.acknowledged, self._count, self._version = acknowledged, 0, 0
        self.is_done = False

    async def run(self) -> None:
        while not self.is_done:
            name = self._chance.choice(self._names)
            old = self.values[name]
            is_removed = old is not None and self._chance.random() < 0.3
            self._count += 1
            new = None if is_removed else str(self._count)
            try:
                await self._write(name, old, new)
            except aiohttp.ClientError:  # killed: it may have been done
                found = await self._read(name)
                assert found in (old, new), f"{name} was {old}, then {new}, and is {found}"
                self.values[name] = found

    async def _write(self, name: str, old: str | None, new: str | None) -> None:
        body = {"metadata": {"name": name}, "data": {"n": new}}
        how = ("DELETE", f"{MAPS}/{name}", 200), ("PUT", f"{MAPS}/{name}", 200)
        method, path, wanted = how[new is not None] if old is not None else ("POST", MAPS, 201)
        async with self._session.request(method, path, json=body if new else None) as answer:
            said = await answer.json()
        assert answer.status == wanted, said
        if new is not None:
            version = int(said["metadata"]["resourceVersion"])
            assert version > self._version, "a revision was given twice"
            self._version = version
        self.values[name] = new
        kind = "DELETED" if new is None else "ADDED" if old is None else "MODIFIED"
        self.acknowledged.append((kind, name, new or old or ""))

    async def _read(self, name: str) -> str | None:
        while True:
            try:
                async with self._session.get(f"{MAPS}/{name}") as answer:
                    said = await answer.json()
            except aiohttp.ClientError:
                continue
            assert answer.status in (200, 404), said
            return str(said["data"]["n"]) if answer.status == 200 else None


class Watch:
    """Follows all ConfigMaps, and goes on after each kill from where it was."""

    def __init__(self, session: aiohttp.ClientSession, version: int):
        self._session, self.version = session, version
        self.seen: list[Seen] = []

    async def run(self) -> None:
        while True:
            try:
                await self._hear()
            except aiohttp.ClientError:
                continue

    async def _hear(self) -> None:
        path = f"{MAPS}?watch=1&resourceVersion={self.version}"
        async with self._session.get(path) as answer:
            async for line in answer.content:
                event = json.loads(line)
                item = event["object"]
                assert event["type"] in ("ADDED", "MODIFIED", "DELETED"), item
                version = int(item["metadata"]["resourceVersion"])
                assert version > self.version, "an event came twice, or out of order"
                self.version = version
                self.seen.append((event["type"], item["metadata"]["name"], item["data"]["n"]))


async def listed(session: aiohttp.ClientSession) -> tuple[dict[str, str], int]:
    async with session.get(f"{MAPS}?fieldSelector=metadata.name!=kube-root-ca.crt") as answer:
        said: dict[str, Any] = await answer.json()
    found = {item["metadata"]["name"]: item["data"]["n"] for item in said["items"]}
    return found, int(said["metadata"]["resourceVersion"])


@pytest.fixture(params=["sqlite", "etcd"])
async def process(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Process]:
    store = f"etcd:{shared_etcd().url}?prefix={tmp_path}" if request.param == "etcd" else ""
    made = Process(tmp_path, store)
    await made.start()
    yield made
    if made.running is not None:
        await made.end(signal.SIGKILL)
    made.listening.close()


async def test_no_acknowledged_write_is_lost(process: Process) -> None:
    chance, acknowledged = random.Random(SEED), list[Seen]()
    async with process.session(force_close=True) as session:
        watch = Watch(session, (await listed(session))[1])
        lanes = [Lane(number, session, acknowledged) for number in range(LANES)]
        following = asyncio.create_task(watch.run())
        tasks = [asyncio.create_task(lane.run()) for lane in lanes]
        for _ in range(KILLS):
            await _more(acknowledged, [*tasks, following])
            await asyncio.sleep(chance.uniform(0, 0.4))
            await process.end(signal.SIGKILL)
            await process.start()
        await _more(acknowledged, [*tasks, following])
        for lane in lanes:
            lane.is_done = True
        await asyncio.gather(*tasks)
        wanted = {name: v for lane in lanes for name, v in lane.values.items() if v is not None}
        assert (await listed(session))[0] == wanted
        async with asyncio.timeout(PATIENCE):
            while not {*acknowledged} <= {*watch.seen}:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    print(f"{KILLS} kills, {len(acknowledged)} acknowledged writes")


async def _more(acknowledged: list[Seen], tasks: list[asyncio.Task[None]]) -> None:
    """Wait until the server works for every client, so that it is killed in the middle."""
    before = len(acknowledged)
    async with asyncio.timeout(PATIENCE):
        while len(acknowledged) < before + 3 * LANES:
            await asyncio.sleep(0.005)
            for task in tasks:
                if task.done():
                    task.result()
