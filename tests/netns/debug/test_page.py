"""The page in a real browser: it draws namespaces, and a broken link turns red."""

import os
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from msgspec import structs

from debug.map.commands import of_snapshot
from debug.snapshot import Snapshot, take
from debug.web.live import Source
from tests.support.browser import Page, browser
from tests.support.debug.cluster import Spaces, cluster
from tests.support.debug.objects import STATE, TRACE
from tests.support.debug.page import serving
from tests.support.e2e.harness import CHECKOUT
from tests.support.space import Space

pytestmark = [pytest.mark.netns, pytest.mark.asyncio(loop_scope="module")]
PICTURE = CHECKOUT / "docs/debug/web.png"
RED = """document.querySelector('#map path.fail[data-cable="Switch - Node node1"]')"""
DRAWN = """document.querySelectorAll('#map [data-place]').length === 5"""


@pytest.fixture(scope="module")
def lab(spaces: Callable[[str], Space]) -> Spaces:
    return cluster(spaces)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(lab: Spaces, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Page]:
    """The page of a cluster, open in a browser that has used the token."""

    def look() -> Snapshot:
        found = take(lab.ground)
        return structs.replace(found, cluster=STATE)

    source = Source(look, lambda name: of_snapshot(look(), name), lambda _: ())
    async with (
        serving(source, trace=TRACE) as served,
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
        await page.resize(1000, 640)
        _keep(await page.picture())
        await page.resize(1000, 900)
    finally:
        lab.switch.ip("link", "set", "to-node1", "up")
    await page.until(f"!{RED}")


def _keep(picture: bytes) -> None:
    """Write the picture of the documentation, if that is asked for: pixels differ by fonts."""
    assert picture.startswith(b"\x89PNG")
    if os.environ.get("PODWIRE_WRITE_PICTURES"):
        PICTURE.write_bytes(picture)


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
    assert {("heading", name) for name in ("Map", "Findings", "Services")} <= named
    assert not [role for role, name in named if role in ("button", "link") and not name]


async def test_the_page_fits_a_phone(page: Page) -> None:
    await page.resize(360, 740)
    await page.until("document.querySelector('#map svg').viewBox.baseVal.width < 400")
    assert await page.value("document.documentElement.scrollWidth") <= 360
    await page.resize(1000, 900)
    await page.until("document.querySelector('#map svg').viewBox.baseVal.width > 400")


STEPS = [
    "Pod default/web-1: out eth0 10.244.1.2:40000 → 10.96.0.7:80, as predicted",
    "Node node1: in pod 10.244.1.2:40000 → 10.96.0.7:80, as predicted",
    "Node node1: prerouting nat services default/web:http accept, as predicted",
    "Node node2: ✗ dropped by the kernel NETFILTER_DROP, as predicted",
    "Here the ways part. Predicted: Pod default/web-2. Seen: dropped at Node node2",
    "Predicted only: Pod default/web-2: Pod default/web-2",
    "Predicted only: Pod default/web-2: delivered at Pod default/web-2",
]
SAID = "[...document.querySelectorAll('#lanes [role=listitem]')].map((one) => one.ariaLabel)"


async def test_a_trace_plays_from_lane_to_lane_beside_its_prediction(page: Page) -> None:
    await page.until("!document.getElementById('trace').hidden")
    assert await page.value(SAID) == STEPS
    text = await page.value("document.getElementById('lanes').textContent")
    assert "now 10.244.1.2:40000 → 10.244.2.2:8080" in text and "<script>" in text
    dash = "getComputedStyle(document.querySelector('#lanes .ghost path')).strokeDasharray"
    assert await page.value(dash) != "none", "it does not differ by its color alone"
    await page.value("document.getElementById('play').click()")
    await page.until("document.querySelector('#lanes svg.playing .step:not(.on)')")
    await page.until("!document.querySelector('#lanes svg.playing')")
    assert await page.value("document.querySelectorAll('#lanes .step:not(.on)').length") == 0


async def test_rules_that_pass_a_packet_on_are_shown_when_asked_for(page: Page) -> None:
    await page.value("document.getElementById('every').click()")
    await page.until(f"({SAID}).includes('Node node1: filter forward accept')")
    await page.value("document.getElementById('every').click()")
    await page.until(f"({SAID}).length === {len(STEPS)}")
