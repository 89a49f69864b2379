"""Clients of API servers that change a few ConfigMaps at once, and write down what they are told.

    python -m tests.support.control.histories.clients FOLDER FILE URL...

FOLDER has ca.crt, admin.crt and admin.key. Prints ``ready`` when each server answers and the
watches have begun. At the end of its input it ends the calls, lets the watches come to the end, and
writes the history into FILE.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from pydantic import TypeAdapter

from tests.support.control.histories.model import (
    Call,
    Event,
    History,
    Listed,
    Outcome,
    Stream,
    Verb,
)
from tests.support.control.sessions import admin_session

CLIENTS, WATCHES, KEYS = 8, 3, 6
PACE = 0.02  # seconds between two calls of a client, at most
PATIENCE = aiohttp.ClientTimeout(total=5, sock_connect=1)
_MAPS = "/api/v1/namespaces/default/configmaps"
_LAST = "last"
_REFUSED = {
    "AlreadyExists": Outcome.EXISTS,
    "NotFound": Outcome.ABSENT,
    "Conflict": Outcome.CONFLICT,
}

Seen = tuple[str, str, int]  # of a ConfigMap: its value, its UID, its revision


@dataclass
class Clients:
    """What all clients of a run share."""

    urls: list[str]
    session: aiohttp.ClientSession
    known: dict[str, Seen] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    lists: list[Listed] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def work(self, number: int) -> None:
        """Call until the end, one server as long as it answers."""
        chance = random.Random(number)
        url = chance.choice(self.urls)
        written = 0
        while not self.ended.is_set():
            key = f"k{chance.randrange(KEYS)}"
            act = chance.choices((self.write, self.read, self.list), (6, 3, 1))[0]
            written += 1
            if not await act(url, key, f"{number}.{written}", chance):
                url = chance.choice(self.urls)
            await asyncio.sleep(chance.uniform(0, PACE))

    async def read(self, url: str, key: str, _value: str, _chance: random.Random) -> bool:
        """Read a key."""
        return await self.call(url, Call(key, Verb.READ, Outcome.UNKNOWN, 0), "GET", None)

    async def write(self, url: str, key: str, value: str, chance: random.Random) -> bool:
        """Change a key: on a condition if it is known, else at times without."""
        known = self.known.get(key)
        if known is None:
            call = Call(key, Verb.CREATE, Outcome.UNKNOWN, 0, value=value)
            return await self.call(url, call, "POST", _map(key, value))
        seen, uid, revision = known
        version = {"resourceVersion": str(revision)}
        match chance.choices(("put", "patch", "remove", "remove any"), (6, 2, 2, 1))[0]:
            case "put":
                call = Call(key, Verb.UPDATE, Outcome.UNKNOWN, 0, value=value, expected=seen)
                return await self.call(url, call, "PUT", _map(key, value, version))
            case "patch":
                call = Call(key, Verb.UPDATE, Outcome.UNKNOWN, 0, value=value)
                return await self.call(url, call, "PATCH", {"data": {"v": value}})
            case "remove":
                call = Call(key, Verb.REMOVE, Outcome.UNKNOWN, 0, value=seen, expected=seen)
                return await self.call(
                    url, call, "DELETE", {"preconditions": version | {"uid": uid}}
                )
            case _:
                call = Call(key, Verb.REMOVE, Outcome.UNKNOWN, 0)
                return await self.call(url, call, "DELETE", None)

    async def call(self, url: str, call: Call, method: str, body: dict[str, Any] | None) -> bool:
        """Ask, and write down what became of it; False if the server did not answer."""
        path = _MAPS if method == "POST" else f"{_MAPS}/{call.key}"
        begun = time.monotonic()
        try:
            status, answer = await self.ask(url, method, path, body)
        except aiohttp.ClientConnectorError:  # nothing was sent
            return False
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError):
            status, answer = 0, {}
        if status == 429:
            return True
        self.calls.append(found := _told(call, status, answer, begun, time.monotonic()))
        self._remember(found, answer)
        return found.outcome is not Outcome.UNKNOWN

    def _remember(self, call: Call, answer: dict[str, Any]) -> None:
        is_gone = call.done and (call.verb is Verb.REMOVE or call.value is None)
        if call.outcome is Outcome.ABSENT or is_gone:
            self.known.pop(call.key, None)
        elif call.done:
            self.known[call.key] = _seen(answer)

    async def list(self, url: str, _key: str, _value: str, _chance: random.Random) -> bool:
        """Read all keys at once."""
        begun = time.monotonic()
        try:
            status, answer = await self.ask(url, "GET", _MAPS, None)
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError):
            return False
        if status != 200:
            return False
        values = {it["metadata"]["name"]: _seen(it) for it in answer["items"] if _is_ours(it)}
        self.known.update(values)
        read = {key: (value, revision) for key, (value, _, revision) in values.items()}
        revision = int(answer["metadata"]["resourceVersion"])
        self.lists.append(Listed(begun, time.monotonic(), revision, read))
        return True

    async def ask(
        self, url: str, method: str, path: str, body: dict[str, Any] | None
    ) -> tuple[int, dict[str, Any]]:
        """Return the status and the answer."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = None if body is None else orjson.dumps(body)
        headers = {"Content-Type": kind}
        async with self.session.request(
            method, url + path, data=data, headers=headers, timeout=PATIENCE
        ) as asked:
            return asked.status, orjson.loads(await asked.read())

    async def watch(self, number: int, since: int) -> Stream:
        """Hear each event after a revision until the last one, from server to server."""
        heard: list[Event] = []
        while not heard or heard[-1].key != _LAST:
            number += 1
            newest = heard[-1].revision if heard else since
            async for event in self._hear(self.urls[number % len(self.urls)], newest):
                heard.append(event)
                if event.key == _LAST:
                    break
            await asyncio.sleep(0.05)
        return Stream(since, tuple(heard[:-1]))

    async def _hear(self, url: str, since: int) -> AsyncIterator[Event]:
        query = f"?watch=1&resourceVersion={since}&timeoutSeconds=300"
        patience = aiohttp.ClientTimeout(total=None, sock_connect=1, sock_read=5)
        try:
            async with self.session.get(url + _MAPS + query, timeout=patience) as asked:
                if asked.status != 200:
                    return
                async for line in asked.content:
                    event = orjson.loads(line)
                    if event["type"] == "ERROR":
                        if event["object"]["code"] == 410:
                            raise SystemExit(f"a watch from {since}: {event}")
                        return
                    if _is_ours(event["object"]) or _name(event["object"]) == _LAST:
                        yield _event(event)
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError):
            return

    async def finish(self) -> None:
        """Write what ends each watch; whether it was done is known by the next attempt."""
        while True:
            for url in self.urls:
                try:
                    status, _ = await self.ask(url, "POST", _MAPS, _map(_LAST, _LAST))
                except (aiohttp.ClientError, TimeoutError):
                    continue
                if status in (201, 409):
                    return
            await asyncio.sleep(0.1)

    async def begin(self) -> int:
        """Wait until each server answers; return the newest revision."""
        newest = 0
        for url in self.urls:
            while True:
                try:
                    status, answer = await self.ask(url, "GET", _MAPS, None)
                except (aiohttp.ClientError, TimeoutError):
                    status = 0
                if status == 200:
                    newest = max(newest, int(answer["metadata"]["resourceVersion"]))
                    break
                await asyncio.sleep(0.05)
        return newest


def _told(call: Call, status: int, answer: dict[str, Any], begun: float, ended: float) -> Call:
    if status in (200, 201):
        value, revision = call.value, 0
        if call.verb is not Verb.REMOVE:
            value, _, revision = _seen(answer)
        return Call(call.key, call.verb, Outcome.DONE, begun, ended, value, call.expected, revision)
    outcome = _REFUSED.get(answer.get("reason", ""), Outcome.UNKNOWN)
    if call.verb is Verb.READ and outcome is Outcome.ABSENT:
        return Call(call.key, call.verb, Outcome.DONE, begun, ended)
    if outcome is not Outcome.UNKNOWN:
        return Call(call.key, call.verb, outcome, begun, ended, call.value, call.expected)
    return Call(call.key, call.verb, outcome, begun, value=call.value, expected=call.expected)


def _map(key: str, value: str, condition: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": key, **(condition or {})},
        "data": {"v": value},
    }


def _seen(item: dict[str, Any]) -> Seen:
    metadata = item["metadata"]
    return item["data"]["v"], metadata["uid"], int(metadata["resourceVersion"])


def _name(item: dict[str, Any]) -> str:
    return str(item.get("metadata", {}).get("name", ""))


def _is_ours(item: dict[str, Any]) -> bool:
    return _name(item).startswith("k") and "v" in item.get("data", {})


def _event(event: dict[str, Any]) -> Event:
    value, _, revision = _seen(event["object"])
    return Event(event["type"], _name(event["object"]), value, revision)


async def _input_ends() -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


async def make_history(folder: Path, urls: list[str]) -> History:
    """Let clients work until the input ends, and return what they know then."""
    async with admin_session(folder, limit=0) as session:
        clients = Clients(urls, session)
        since = await clients.begin()
        watches = [asyncio.create_task(clients.watch(number, since)) for number in range(WATCHES)]
        works = [asyncio.create_task(clients.work(number)) for number in range(CLIENTS)]
        print("ready", flush=True)
        await _input_ends()
        clients.ended.set()
        await asyncio.gather(*works)
        await clients.finish()
        streams = tuple(await asyncio.gather(*watches))
    return History(tuple(clients.calls), tuple(clients.lists), streams)


def load(file: Path) -> History:
    """Read what a run has written."""
    return TypeAdapter(History).validate_python(json.loads(file.read_text()))


if __name__ == "__main__":
    made = asyncio.run(make_history(Path(sys.argv[1]), sys.argv[3:]))
    Path(sys.argv[2]).write_text(json.dumps(asdict(made)))
