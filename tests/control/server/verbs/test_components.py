"""ComponentStatus: what the components beside the server answer to clients of the API."""

import pytest
from aiohttp import web

from control.api.component import COMPONENT_STATUS
from control.client.pages import pages
from control.metrics import Registry
from control.server.verbs import components
from control.store.base import StoreError
from tests.support.control.requests import Api

PATH = COMPONENT_STATUS.path()
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
WARNING = '299 - "v1 ComponentStatus is deprecated in v1.19+"'


@pytest.fixture
async def ports(monkeypatch):
    """podwire's page as the scheduler, and a server that is not well as the controllers."""

    async def unwell(_: web.Request) -> web.Response:
        return web.Response(status=500, text="no")

    app = web.Application()
    app.router.add_get("/healthz", unwell)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with pages("127.0.0.1:0", Registry()) as port:
        wrong = runner.addresses[0][1]
        monkeypatch.setattr(
            components, "_PORTS", {"controller-manager": wrong, "scheduler": port, "gone": 1}
        )
        yield
    await runner.cleanup()


async def test_components_and_the_store_are_asked(api: Api, ports, monkeypatch):
    listed = await api("GET", PATH)
    assert (listed.code, listed.warnings, listed["metadata"]) == (200, (WARNING,), {})
    found = {each["metadata"]["name"]: each["conditions"] for each in listed["items"]}
    assert found == {
        "controller-manager": [
            {
                "type": "Healthy",
                "status": "False",
                "message": "HTTP probe failed with statuscode: 500",
            }
        ],
        "scheduler": [{"type": "Healthy", "status": "True", "message": "ok"}],
        "gone": [
            {
                "type": "Healthy",
                "status": "False",
                "message": 'Get "https://127.0.0.1:1/healthz": dial tcp 127.0.0.1:1: connect:'
                " connection refused",
            }
        ],
        "etcd-0": [{"type": "Healthy", "status": "True", "message": "ok"}],
    }
    table = await api("GET", PATH, Accept=TABLE)
    assert [column["name"] for column in table["columnDefinitions"]] == [
        "Name",
        "Status",
        "Message",
        "Error",
    ]
    assert ["scheduler", "Healthy", "ok", ""] in [row["cells"] for row in table["rows"]]


async def test_a_store_that_fails_is_unhealthy(api: Api, monkeypatch):
    async def fail() -> int:
        raise StoreError("the disk is gone")

    monkeypatch.setattr(api.state.cache, "fresh", fail)
    (condition,) = (await api("GET", f"{PATH}/etcd-0"))["conditions"]
    assert condition == {"type": "Healthy", "status": "False", "error": "the disk is gone"}
