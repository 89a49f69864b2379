"""The page in a real browser: it draws namespaces, and a broken link turns red."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from subprocess import DEVNULL, Popen

import pytest
import pytest_asyncio
from msgspec import structs

from debug.map.commands import of_snapshot
from debug.map.effort import Effort
from debug.map.measure import measured
from debug.snapshot import Snapshot, take
from debug.web.commands import hear
from debug.web.live import Source
from tests.support.browser import Page, browser
from tests.support.debug.cluster import Spaces, cluster
from tests.support.debug.objects import PODS, STATE, TRACE
from tests.support.debug.page import serving
from tests.support.e2e.harness import CHECKOUT
from tests.support.space import Space

pytestmark = [pytest.mark.netns, pytest.mark.asyncio(loop_scope="module")]
RED = """document.querySelector('#map path.fail[data-cable="Switch - Node node1"]')"""
DRAWN = """document.querySelectorAll('#map [data-place]').length === 5"""

STEPS = [
    "Pod default/web-1: out eth0 10.244.1.2:40000 → 10.96.0.7:80, so far as predicted",
    "Node node1: in pod 10.244.1.2:40000 → 10.96.0.7:80, so far as predicted",
    "Node node1: prerouting nat services default/web:http accept, so far as predicted",
    "Node node2: ✗ dropped by the kernel NETFILTER_DROP, so far as predicted",
    "Here the ways part. Predicted: Pod default/web-2. Seen: dropped at Node node2",
    "Predicted only: Pod default/web-2: Pod default/web-2",
    "Predicted only: Pod default/web-2: delivered at Pod default/web-2",
]


@pytest.fixture(scope="module")
def lab(spaces: Callable[[str], Space]) -> Spaces:
    return cluster(spaces)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(lab: Spaces, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Page]:
    """The page of a cluster, open in a browser that has used the token."""

    def look() -> Snapshot:
        found = take(lab.ground)
        return structs.replace(found, cluster=STATE)

    source = Source(
        look,
        lambda name: of_snapshot(look(), name),
        lambda _: (),
        lambda over: measured(lab.ground, take(lab.ground), Effort(2, 5), over),
        partial(hear, lab.ground, PODS),
    )
    async with (
        serving(source, trace=TRACE, live="") as served,
        browser(tmp_path_factory.mktemp("chromium")) as page,
    ):
        await page.resize(1000, 900)
        await page.open(served.address)
        await page.until(DRAWN)
        yield page
        assert page.faults == [], "nothing is refused by the policy, and no script fails"


async def test_the_map_is_drawn_and_a_broken_link_turns_red(page: Page, lab: Spaces) -> None:
    assert await page.value("document.querySelectorAll('#map path.veth').length") == 4
    assert await page.value("document.querySelectorAll('#map .fail').length") == 0
    assert await page.value("location.search") == "", "the token is in no history"
    lab.switch.ip("link", "set", "to-node1", "down")
    try:
        await page.until(RED)
        found = await page.value("document.getElementById('problems').textContent")
        assert "Switch: to-node1 is down" in found
        assert await page.value(f"getComputedStyle({RED}).stroke") == "rgb(198, 40, 40)"
        assert "broken" in await page.value("document.getElementById('state').textContent")
        await _keep(page, "", "body")
    finally:
        lab.switch.ip("link", "set", "to-node1", "up")
    await page.until(f"!{RED}")


async def _keep(page: Page, name: str, part: str, most: int = 800) -> None:
    """Write a picture of the documentation, if that is asked for: pixels differ by fonts."""
    picture = await page.picture(part, most)
    assert picture.startswith(b"\x89PNG")
    if os.environ.get("PODWIRE_WRITE_PICTURES"):
        name = f"web-{name}.png" if name else "web.png"
        (CHECKOUT / "docs/debug" / name).write_bytes(picture)


async def test_a_keyboard_opens_a_place_and_returns_to_it(page: Page) -> None:
    for _ in range(20):
        await page.press("Tab")
        if await page.value("document.activeElement.dataset.place") == "Pod default/web-1":
            break
    await page.press("Enter")
    await page.until("document.activeElement.id === 'detail'")
    assert "10.244.1.2/24" in await page.value("document.getElementById('detail').textContent")
    await page.press("Escape")
    await page.until("document.activeElement.dataset.place === 'Pod default/web-1'")


async def test_a_service_is_opened_with_its_shares(page: Page) -> None:
    await page.value("document.querySelector('#services button').click()")
    await page.until(
        "document.getElementById('detail-title').textContent === 'Service default/web'"
    )
    text = await page.value("document.getElementById('detail-body').textContent")
    assert "10.244.1.2:8080" in text and "50 %" in text
    await page.press("Escape")


async def test_a_screen_reader_finds_names_for_all_that_can_be_used(page: Page) -> None:
    nodes = (await page.call("Accessibility.getFullAXTree"))["nodes"]
    named = {(one["role"]["value"], one.get("name", {}).get("value")) for one in nodes}
    assert ("button", "Pod default/web-1: ok") in named
    assert ("listitem", STEPS[4]) in named, "where a packet left the prediction"
    assert {("heading", name) for name in ("Map", "Findings", "Services")} <= named
    assert not [role for role, name in named if role in ("button", "link") and not name]


HIDE = """Object.defineProperty(document, 'hidden', {value: %s, configurable: true});
document.dispatchEvent(new Event('visibilitychange'))"""


async def test_a_hidden_page_reads_nothing_and_goes_on_when_it_is_seen(
    page: Page, lab: Spaces
) -> None:
    await page.value(HIDE % "true")
    assert await page.value("events.readyState") == 2, "closed"
    lab.switch.ip("link", "set", "to-node1", "down")
    try:
        await page.value(HIDE % "false")
        await page.until(RED)
    finally:
        lab.switch.ip("link", "set", "to-node1", "up")
    await page.until(f"!{RED}")


async def test_the_page_fits_a_phone(page: Page) -> None:
    await page.resize(360, 740)
    await page.until("document.querySelector('#map svg').viewBox.baseVal.width < 400")
    assert await page.value("document.documentElement.scrollWidth") <= 360
    await page.resize(1000, 900)
    await page.until("document.querySelector('#map svg').viewBox.baseVal.width > 400")


SAID = "[...document.querySelectorAll('#lanes [role=listitem]')].map((one) => one.ariaLabel)"


async def test_a_trace_plays_from_lane_to_lane_beside_its_prediction(page: Page) -> None:
    await page.until("!document.getElementById('trace').hidden")
    assert await page.value(SAID) == STEPS
    text = await page.value("document.getElementById('lanes').textContent")
    assert "now 10.244.1.2:40000 → 10.244.2.2:8080" in text and "<script>" in text
    dash = "getComputedStyle(document.querySelector('#lanes .ghost path')).strokeDasharray"
    assert await page.value(dash) != "none", "it does not differ by its color alone"
    await page.resize(1380, 900)
    await _keep(page, "trace", "#trace", 580)
    await page.resize(1000, 900)
    await page.value("document.getElementById('play').click()")
    await page.until("document.querySelector('#lanes svg.playing .step:not(.on)')")
    await page.until("!document.querySelector('#lanes svg.playing')")
    assert await page.value("document.querySelectorAll('#lanes .step:not(.on)').length") == 0


async def test_rules_that_pass_a_packet_on_are_shown_when_asked_for(page: Page) -> None:
    await page.value("document.getElementById('every').click()")
    await page.until(f"({SAID}).includes('Node node1: filter forward accept')")
    await page.value("document.getElementById('every').click()")
    await page.until(f"({SAID}).length === {len(STEPS)}")


CELL = """[...document.querySelectorAll('#mesh-body tr')].some((row) =>
  row.cells[0].textContent === 'Node node1' && row.querySelector('td.%s'))"""


async def test_the_mesh_is_measured_again_and_again_until_it_is_stopped(
    page: Page, lab: Spaces
) -> None:
    await page.value("document.getElementById('measure').click()")
    await page.until(CELL % "ok")
    heads = "[...document.querySelectorAll('#mesh-body caption')].map((one) => one.textContent)"
    assert await page.value(heads) == ["Nodes, IPv4", "Pods, IPv4"]
    lab.switch.ip("link", "set", "to-node2", "mtu", "1371")
    try:
        await page.until(CELL % "warn")
        text = await page.value("document.getElementById('mesh-body').textContent")
        assert "packets above 1371 bytes do not pass, though its link takes 1500" in text
        await _keep(page, "mesh", "#mesh")
    finally:
        lab.switch.ip("link", "set", "to-node2", "mtu", "1500")
    await page.value("document.getElementById('measure').click()")
    await page.until("document.getElementById('measure').textContent === 'Measure'")


@contextmanager
def pinging(lab: Spaces) -> Iterator[None]:
    """Have a Pod ping the other one all the time."""
    argv = lab.pods[0].argv("ping", "-i", "0.2", "10.244.2.2")
    with Popen(argv, stdout=DEVNULL) as ping:
        try:
            yield
        finally:
            ping.kill()


HOOKED = "table ip t { chain c { type filter hook prerouting priority 0; counter; }\n}"
LINES = "document.querySelectorAll('#packets li')"
STATE_OF = "document.getElementById('live-state').textContent"


async def test_packets_arrive_as_they_happen_can_be_paused_and_opened(
    page: Page, lab: Spaces
) -> None:
    lab.nodes[0].run("nft", "-f", "-", stdin=HOOKED)
    filled = "document.getElementById('filter').value = 'host web-1 and host web-2 and icmp'"
    await page.value(filled)
    await page.value("document.querySelector('#listen [type=submit]').click()")
    with pinging(lab):
        await page.until(f"{LINES}.length > 2")
        await page.value("document.getElementById('pause').click()")
        shown = await page.value(f"{LINES}.length")
        await page.until("/Go on .[1-9]/.test(document.getElementById('pause').textContent)")
        assert await page.value(f"{LINES}.length") == shown, "nothing moves meanwhile"
        await page.value("document.getElementById('pause').click()")
        await page.until(f"{LINES}.length > {shown}")
        await _keep(page, "live", "#live")
        text = await page.value("document.getElementById('packets').textContent")
        assert "● ICMP echo request" in text and "arrived at Pod default/web-2" in text
        assert "✗" not in text, "that ping reads replies by a raw socket is no loss"
        await page.value("document.querySelector('#packets li:last-child button').click()")
        await page.until("document.querySelector('#detail svg [role=listitem]')")
        await page.press("Escape")
        await page.until("document.activeElement.closest('#packets') !== null")
        assert _traced(lab), "its rules are there"
        await page.value("document.getElementById('stop').click()")
        await page.until(f"{STATE_OF} === 'Stopped.'")
    await asyncio.to_thread(_wait_until_untraced, lab)


async def test_what_is_no_filter_is_said_on_the_page(page: Page) -> None:
    await page.value("document.getElementById('filter').value = 'port 80'")
    await page.value("document.querySelector('#listen [type=submit]').click()")
    await page.until(f"{STATE_OF}.includes('a filter needs a host')")


def _traced(lab: Spaces) -> bool:
    return "podwire-trace" in lab.nodes[0].run("nft", "list", "tables")


def _wait_until_untraced(lab: Spaces) -> None:
    while _traced(lab):
        time.sleep(0.1)
