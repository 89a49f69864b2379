"""Ask the components how they are: ComponentStatus (GET).

Source: k8s.io/kubernetes/pkg/registry/core/componentstatus
"""

import asyncio
import os
from dataclasses import replace
from typing import Any

import aiohttp

from control.api.base import encode
from control.api.component import COMPONENT_STATUS
from control.server.state.server import ServerState
from control.server.verbs.read import ObjectListing
from control.server.verbs.select import selection
from control.server.wire import errors
from control.server.wire.item import Item
from control.server.wire.list_options import errors_in_list
from control.server.wire.request import ApiRequest
from control.store.base import StoreError

# Where upstream's components are by default: always beside the API server.
_PORTS = {"controller-manager": 10257, "scheduler": 10259}
_STORE = "etcd-0"  # the name that clients know; here it is the store, whatever it is
_LIMITS = aiohttp.ClientTimeout(total=20.0)
_MOST_BYTES = 10 * 1024
Condition = dict[str, str]


async def get(state: ServerState, request: ApiRequest) -> Item:
    """Return how one component is; raises StatusError (404)."""
    name = request.info.name
    if name not in (*_PORTS, _STORE):
        raise errors.not_found(replace(COMPONENT_STATUS, plural="componentstatus"), name)
    return await _status(state, name)


async def list_objects(state: ServerState, request: ApiRequest) -> ObjectListing:
    """List how all components are; raises StatusError (400, 422)."""
    if found := errors_in_list(request.query):
        raise errors.invalid_list_options(found)
    request.check_numbers()  # pages are not made
    wanted = selection(request)
    every = await asyncio.gather(*(_status(state, name) for name in (*_PORTS, _STORE)))
    return ObjectListing(COMPONENT_STATUS, await wanted.choose(list(every)), 0)


async def _status(state: ServerState, name: str) -> Item:
    found = await (_of_store(state) if name == _STORE else _asked(_PORTS[name]))
    wire: dict[str, Any] = {
        "kind": COMPONENT_STATUS.name,
        "apiVersion": COMPONENT_STATUS.api_version,
        "metadata": {"name": name},
        "conditions": [{"type": "Healthy"} | found],
    }
    return Item.of(f"/{name}", 0, encode(wire))


async def _of_store(state: ServerState) -> Condition:
    try:
        await state.cache.fresh()
    except StoreError as err:
        return {"status": "False", "error": str(err)}
    return {"status": "True", "message": "ok"}


async def _asked(port: int) -> Condition:
    """Ask a component over TLS, as upstream does; podwire's own speak plain HTTP."""
    host = f"127.0.0.1:{port}"
    url = f"https://{host}/healthz"
    async with aiohttp.ClientSession(timeout=_LIMITS) as session:
        try:
            return await _answer(session, url)
        except aiohttp.ClientConnectorSSLError:
            url = f"http://{host}/healthz"
            try:
                return await _answer(session, url)
            except (aiohttp.ClientError, OSError) as err:
                why = str(err)
        except aiohttp.ClientConnectorError as err:
            why = f"dial tcp {host}: connect: {os.strerror(err.os_error.errno or 0).lower()}"
        except TimeoutError:
            why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        except (aiohttp.ClientError, OSError) as err:
            why = str(err)
    return {"status": "False", "message": f'Get "{url}": {why}'}


async def _answer(session: aiohttp.ClientSession, url: str) -> Condition:
    async with session.get(url, ssl=False) as answer:
        if not 200 <= answer.status < 400:
            return _failed(f"HTTP probe failed with statuscode: {answer.status}")
        text = (await answer.content.read(_MOST_BYTES)).decode(errors="replace")
        return {"status": "True", "message": text}


def _failed(why: str) -> Condition:
    return {"status": "False", "message": why}
