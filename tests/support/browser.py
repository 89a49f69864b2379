"""A real Chromium without a window, driven by its DevTools protocol.

Source: https://chromedevtools.github.io/devtools-protocol/ (domains Page, Runtime, Input, Log).
"""

import asyncio
import base64
import itertools
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

PROGRAM = next(
    (path for name in ("chromium-headless-shell", "chromium") if (path := shutil.which(name))), ""
)
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--remote-debugging-port=0", "--no-proxy-server", "--hide-scrollbars"),
)
_UNTIL = """new Promise((done) => {
  const look = () => { if (%s) { seen.disconnect(); done(true); } };
  const seen = new MutationObserver(look);
  seen.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
  look();
})"""
_SECONDS = 60


class Page:
    """A tab. ``faults`` are what it wrote on its console, errors and refusals among them."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._loaded = asyncio.Event()
        self.faults: list[str] = []

    async def listen(self) -> None:
        """Take answers and events until the connection ends."""
        async for message in self._socket:
            found = json.loads(message.data)
            if "id" in found:
                self._answers.pop(found["id"]).set_result(found)
            elif found["method"] == "Page.loadEventFired":
                self._loaded.set()
            elif found["method"] in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.faults.append(json.dumps(found["params"]))

    async def call(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol."""
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(_SECONDS):
            found = await self._answers[number]
        assert "error" not in found, (method, found)
        return found["result"]

    async def open(self, url: str) -> None:
        """Go to an address, and wait until it is loaded."""
        self._loaded.clear()
        await self.call("Page.navigate", url=url)
        async with asyncio.timeout(_SECONDS):
            await self._loaded.wait()

    async def value(self, script: str) -> Any:
        """Return what an expression of JavaScript gives."""
        found = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, condition: str) -> None:
        """Wait until an expression holds, which is looked at whenever the page changes."""
        await self.value(_UNTIL % condition)

    async def press(self, key: str) -> None:
        """Press a key and let it go."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        await self.call(
            "Input.dispatchKeyEvent",
            type="keyDown",
            key=key,
            code=key,
            text=text,
            windowsVirtualKeyCode={"Tab": 9, "Enter": 13, "Escape": 27}[key],
        )
        await self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key)

    async def resize(self, width: int, height: int) -> None:
        """Give the page the size of a screen, in pixels."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )

    async def picture(self, part: str = "body", most: int = 800) -> bytes:
        """Return a PNG of an element, by its selector: all of it, up to a height in pixels."""
        where = await self.value(
            f"(({{x, y, width, height}}) => ({{x: x + scrollX, y: y + scrollY, width, height}}))"
            f"(document.querySelector('{part}').getBoundingClientRect())"
        )
        clip = {**where, "height": min(where["height"], most), "scale": 1}
        found = await self.call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip
        )
        return base64.b64decode(found["data"])


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Page]:
    """Give a tab of a Chromium that starts and ends here, with its files in ``folder``."""
    assert PROGRAM, "bin/setup --dev installs chromium-headless-shell"
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, *_FLAGS, f"--user-data-dir={folder}", "about:blank"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    try:
        address = await _address(process.stderr)
        drain = asyncio.create_task(_drain(process.stderr))
        async with _tab(address) as page:
            yield page
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its helpers, too: they hold the pipe
        await process.wait()
    await drain


@asynccontextmanager
async def _tab(address: str) -> AsyncIterator[Page]:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://{address}/json") as got:
            (tab,) = [one for one in await got.json(content_type=None) if one["type"] == "page"]
        async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            page = Page(socket)
            listening = asyncio.create_task(page.listen())
            for domain in ("Page", "Runtime", "Log"):
                await page.call(f"{domain}.enable")
            yield page
        await listening


async def _address(errors: asyncio.StreamReader) -> str:
    """Return where the protocol is spoken, which Chromium writes once it does."""
    said = []
    async with asyncio.timeout(_SECONDS):
        async for line in errors:
            said.append(line.decode())
            if "DevTools listening on ws://" in said[-1]:
                return said[-1].split("ws://")[1].split("/")[0]
    raise AssertionError(f"{PROGRAM} has ended: {''.join(said)}")


async def _drain(errors: asyncio.StreamReader) -> None:
    while await errors.read(65536):
        pass
