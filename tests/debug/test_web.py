"""Who may see the page: the lock of podwire web, from a browser's and from an enemy's side."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from control.reported import ReportedError
from debug.model import Finding, Level
from debug.snapshot import Snapshot
from debug.trace.model import Hop, PacketTrace, Step, Trace
from debug.web.lanes import TraceError, load, svg
from debug.web.live import Source, scene
from tests.support.debug.objects import STATE
from tests.support.debug.page import Served, serving

TAKEN = Snapshot("2026-01-01T00:00:00+00:00", STATE)


def refuse(name: str) -> Any:
    raise ReportedError(f"no Service {name}")


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(Source(lambda: TAKEN, refuse, lambda _: ())) as found:
        yield found


@pytest.fixture
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    jar = aiohttp.CookieJar(unsafe=True)  # that is: of addresses, too
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        yield session


async def status(session: aiohttp.ClientSession, url: str, **more: Any) -> int:
    method = more.pop("method", "GET")
    async with session.request(method, url, **more) as got:
        assert "default-src 'none'" in got.headers["Content-Security-Policy"]
        assert got.headers["X-Content-Type-Options"] == "nosniff"
        return got.status


async def test_the_token_opens_the_page_once(
    served: Served, browser: aiohttp.ClientSession
) -> None:
    address = served.address
    async with browser.get(address, allow_redirects=False) as got:
        cookie = got.headers["Set-Cookie"]
        assert (got.status, got.headers["Location"]) == (303, "/")
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    root = f"http://127.0.0.1:{served.port}"
    assert [await status(browser, f"{root}{path}") for path in ("/", "/page.js", "/map.svg")] == [
        *(200, 200, 200)
    ]
    async with aiohttp.ClientSession() as other:
        assert await status(other, address) == 403, "it was used"


@pytest.mark.parametrize("path", ["/", "/page.js", "/map.svg", "/events", "/service?name=x", "/x"])
async def test_nothing_is_shown_without_the_cookie(served: Served, path: str) -> None:
    root = f"http://127.0.0.1:{served.port}"
    async with aiohttp.ClientSession(cookies={f"podwire-web-{served.port}": "guess"}) as session:
        assert await status(session, f"{root}{path}") == 403
        assert await status(session, f"{root}/?token=guess") == 403
        assert await status(session, f"{root}{path}", params={"token": "\udcff"}) == 403


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Host": "evil.example"}, 403),  # a name of the enemy's that resolves to 127.0.0.1
        ({"Host": "127.0.0.1:1"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),  # another port of this machine
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
async def test_other_pages_read_nothing(
    served: Served, browser: aiohttp.ClientSession, headers: dict[str, str], code: int
) -> None:
    await status(browser, served.address)
    assert await status(browser, f"http://127.0.0.1:{served.port}/", headers=headers) == code


async def test_what_is_asked_wrongly_is_refused_in_words(
    served: Served, browser: aiohttp.ClientSession
) -> None:
    await status(browser, served.address)
    root = f"http://127.0.0.1:{served.port}"
    assert await status(browser, f"{root}/trace.svg?every=maybe") == 400
    for wrong in ("0", "-1", "9" * 999, "0200", "01", "x", "²", ""):
        assert await status(browser, f"{root}/map.svg?columns={wrong}") == 400
    assert await status(browser, f"{root}/trace.svg") == 204, "none was given"
    assert await status(browser, f"{root}/nothing") == 404
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert await status(browser, f"{root}/", method=method) == 405
    async with browser.get(f"{root}/service", params={"name": "a/b"}) as got:
        assert (got.status, await got.json()) == (404, {"error": "no Service a/b"})


async def test_a_stream_tells_what_is_and_why_it_cannot_be_renewed(
    browser: aiohttp.ClientSession,
) -> None:
    told = iter([TAKEN])

    def take() -> Snapshot:
        for found in told:
            return found
        raise ReportedError("lab x is not up")

    async with serving(Source(take, refuse, lambda _: ()), seconds=0.01) as served:
        await status(browser, served.address)
        async with browser.get(f"http://127.0.0.1:{served.port}/events") as stream:
            lines = [line async for line in _data(stream, 2)]
    assert b'"services":["default/web"]' in lines[0] and b'"fault"' not in lines[0]
    assert b"lab x is not up" in lines[1] and b"default/web" in lines[1]


async def test_a_defect_is_told_and_does_not_freeze_the_page(
    browser: aiohttp.ClientSession,
) -> None:
    looks = [(), KeyError("x"), (Finding("a", Level.FAIL, "it is down"),)]
    told: list[bytes] = []

    def examine(_: Snapshot) -> tuple[Finding, ...]:
        found = looks[min(len(told), 2)]  # what is to be told next
        if isinstance(found, KeyError):
            raise found
        return found

    async with serving(Source(lambda: TAKEN, refuse, examine), seconds=0.01) as served:
        await status(browser, served.address)
        async with browser.get(f"http://127.0.0.1:{served.port}/events") as stream:
            async for line in _data(stream, 3):
                told.append(line)
    assert b"a defect of podwire, please report it: KeyError: 'x'" in told[1]
    assert b"it is down" in told[2] and b'"fault"' not in told[2]


async def _data(stream: aiohttp.ClientResponse, number: int) -> AsyncIterator[bytes]:
    async for line in stream.content:
        if line.startswith(b"data: "):
            yield line
            number -= 1
        if not number:
            return


def test_a_scene_has_the_services_and_the_levels_of_a_snapshot() -> None:
    shown = scene(TAKEN, ())
    assert (shown.services, shown.graph.level) == (("default/web",), Level.OK)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "holds no output of podwire trace"),
        (b"[" * 100_000, "holds no output of podwire trace"),
        (b'{"source":"a","destination":"b","started":"c","packets":[{}]}', "probe"),
        (b'{"source":"a","destination":"b","started":"c","version":99}', "has version 99"),
    ],
)
def test_what_is_no_trace_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "trace.json"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=why):
        load(path)


def test_a_trace_of_many_steps_is_cut() -> None:
    steps = (Step("rule", chain="c"),) * 3000
    packet = PacketTrace(1, "forward", "UDP", hops=(Hop("n", "Node n", steps=steps),))
    drawn = svg(Trace("a", "b", "", (packet,)), every=True)
    assert drawn.count('"listitem"') == 2000 and "the rest is not drawn" in drawn


def test_findings_are_listed_the_worst_first_with_what_to_do() -> None:
    findings = (
        Finding("a", Level.OK, "it is well"),
        Finding("b", Level.WARN, "Service ns/x has no endpoint", about="Service ns/x"),
        Finding("c", Level.FAIL, "it is down", node="n", about="link eth0", fix="set it up"),
    )
    assert [(one.level, one.text) for one in scene(TAKEN, findings).problems] == [
        ("fail", "n link eth0: it is down. To mend it: set it up"),
        ("warn", "Service ns/x has no endpoint."),
    ]
