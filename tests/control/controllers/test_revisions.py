"""ControllerRevisions of DaemonSets have the text that upstream's controller compares."""

import json
from typing import Any

import aiohttp

from control.api import kinds
from control.api.workload import ControllerRevision, DaemonSet
from control.client import Client, ClientConfig
from control.controllers.actions import Create
from control.controllers.history import history, recorded
from tests.support.control.api_server import ApiServer
from tests.support.control.requests import Api, pod

DAEMONS = "/apis/apps/v1/namespaces/default/daemonsets"
REVISIONS = "/apis/apps/v1/namespaces/default/controllerrevisions"


def gos_patch(daemon_set: dict[str, Any]) -> bytes:
    """The patch as Go's json.Marshal writes it: names sorted, signs of HTML escaped."""
    template = daemon_set["spec"]["template"] | {"$patch": "replace"}
    patch = {"spec": {"template": template}}
    text = json.dumps(patch, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for sign in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text.encode()


async def test_upstream_finds_its_own_revision(api_server: ApiServer):
    template = pod("d")
    template["spec"]["containers"][0] |= {
        "command": ["sh", "-c", "a<b && c>d\u2028é"],
        "resources": {"limits": {"memory": "1024Mi", "cpu": 1}},
    }
    spec = {"selector": {"matchLabels": {"app": "d"}}, "template": template}
    async with aiohttp.ClientSession(api_server.url) as session:
        api = Api(session, api_server.state)
        made = await api.make(DAEMONS, {"metadata": {"name": "d"}, "spec": spec})
        daemon_set = DaemonSet.parse(made)
        (action,) = recorded(daemon_set, history(daemon_set, []))
        assert isinstance(action, Create)
        async with Client(ClientConfig(api_server.url)) as client:
            stored = await client.create(kinds.CONTROLLER_REVISION, action.object)
        assert isinstance(stored, ControllerRevision)
        async with session.get(f"{REVISIONS}/{stored.metadata.name}") as answer:
            raw = await answer.read()
    assert b'"data":' + gos_patch(made) in raw
    assert history(daemon_set, [stored]).current == stored
