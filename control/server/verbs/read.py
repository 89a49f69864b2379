"""Read one object or a list from the watch cache, old revisions from the store (GET)."""

import base64
import posixpath
import re
from typing import Any

import orjson
from msgspec import Struct
from msgspec.structs import replace

from control.api.kinds import Kind
from control.server.state.conversion import NotConvertedError
from control.server.state.server import ServerState
from control.server.verbs.select import Selection, selection
from control.server.wire import errors
from control.server.wire.errors import StatusError
from control.server.wire.info import RequestInfo, storage_key, storage_prefix
from control.server.wire.item import Item, stamp
from control.server.wire.list_options import errors_in_list
from control.server.wire.request import ApiRequest
from control.store.base import CompactedError, FutureRevisionError

# Records that a list with a selector, or without a limit, reads from the store at once.
_STRIDE = 500
_FORM = "meta.k8s.io/v1"
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9_-]")


class ObjectListing(Struct, frozen=True):
    """A collection or a page of it, as of ``revision``."""

    kind: Kind
    items: list[Item]
    revision: int
    continue_: str = ""
    remaining: int | None = None


async def get(state: ServerState, request: ApiRequest) -> Item:
    """Return the object that a request names; raises StatusError (404, 500, 504)."""
    current = await state.cache.fresh()
    if "resourceVersion" in request.query and (asked := request.exact_version()) > current:
        raise errors.version_too_large(asked, current)
    return find(state, request.info)


def find(state: ServerState, info: RequestInfo) -> Item:
    """Return the object that a request names from the cache; raises StatusError (404)."""
    item = state.cache.of(info.kind).get(storage_key(info.kind, info.namespace, info.name))
    if item is None:
        raise errors.not_found(info.kind, info.name)
    return item


async def list_objects(state: ServerState, request: ApiRequest) -> ObjectListing:
    """List a collection or a page of it; raises StatusError (400, 410, 422, 504)."""
    request.check_numbers()
    if found := errors_in_list(request.query):
        raise errors.invalid_list_options(found)
    wanted = selection(request)
    limit = max(0, request.number("limit"))
    if token := request.query.get("continue", ""):
        start, revision = _parse_token(token, request)
        if request.version():
            raise errors.bad_request(
                "specifying resource version is not allowed when using continue"
            )
        return await _from_store(state, request, wanted, limit, start, revision)
    asked = request.version()
    current = await state.cache.fresh()
    if asked > current:
        raise errors.version_too_large(asked, current)
    if request.query.get("resourceVersionMatch") == "Exact":
        return await _from_store(state, request, wanted, limit, "", asked)
    if request.query.get("resourceVersion") == "0":
        limit = 0  # any revision will do: upstream's cache answers with all objects at once
    return await _from_cache(state, request, wanted, limit)


async def _from_cache(
    state: ServerState, request: ApiRequest, wanted: Selection, limit: int
) -> ObjectListing:
    cache = state.cache.of(request.info.kind)
    revision = state.cache.revision
    candidates = list(cache.items(storage_prefix(request.info.kind, request.info.namespace)))
    page = _page(request, await wanted.choose(candidates), limit, revision)
    return page if wanted.everything else replace(page, remaining=None)


def _page(request: ApiRequest, matching: list[Item], limit: int, revision: int) -> ObjectListing:
    rest = len(matching) - limit if limit else 0
    if rest <= 0:
        return ObjectListing(request.info.kind, matching, revision)
    items = matching[:limit]
    token = _make_token(items[-1].key, revision, request)
    return ObjectListing(request.info.kind, items, revision, token, rest)


async def _from_store(
    state: ServerState,
    request: ApiRequest,
    wanted: Selection,
    limit: int,
    start: str,
    revision: int,
) -> ObjectListing:
    """Return a page as of an old revision, which only the store has."""
    prefix = storage_prefix(request.info.kind, request.info.namespace)
    found: list[Item] = []
    # A page of the store is as large as the client's, if no selector drops records of it.
    stride = limit if limit and wanted.everything else _STRIDE
    while True:
        try:
            page = await state.store.list(prefix, limit=stride, after=start, revision=revision)
        except CompactedError as err:
            raise errors.expired(_too_old(start)) from err
        except FutureRevisionError as err:
            raise errors.version_too_large(revision, err.current) from err
        stamped = [stamp(each.key, each.value, each.revision) for each in page.records]
        items = _seen(state, request.info.kind, stamped)
        found += await wanted.choose(items)
        if not page.more or (limit and len(found) >= limit):
            break
        start, revision = page.records[-1].key, page.revision
    if not page.more and (not limit or len(found) <= limit):
        return ObjectListing(request.info.kind, found, page.revision)
    last = found[limit - 1].key if len(found) > limit else page.records[-1].key
    return ObjectListing(
        request.info.kind, found[:limit], page.revision, _make_token(last, page.revision, request)
    )


def _seen(state: ServerState, kind: Kind, items: list[Item]) -> list[Item]:
    """Return stored objects as their kind shows them; raises NotConvertedError."""
    found, missing = [], list[Item]()
    for item in items:
        try:
            found.append(state.cache.seen(kind, item))
        except NotConvertedError:
            missing.append(item)
    if missing:
        raise NotConvertedError(kind, missing)
    return found


def _too_old(start: str) -> str:
    if not start:
        return "The resourceVersion for the provided list is too old."
    return (
        "The provided continue parameter is too old to display a consistent list result."
        " You can start a new list without the continue parameter."
    )


def _make_token(last: str, revision: int, request: ApiRequest) -> str:
    """Return the continue token of the next page: opaque to clients, in upstream's form."""
    start = last.removeprefix(storage_prefix(request.info.kind))
    token = {"v": _FORM, "rv": revision, "start": start}
    return base64.urlsafe_b64encode(orjson.dumps(token)).decode().rstrip("=")


def _parse_token(token: str, request: ApiRequest) -> tuple[str, int]:
    """Return (last key of the previous page, revision); raises StatusError (400).

    The revision 0 means the newest one: a token says -1 for it.
    """
    value = _decoded_token(token)
    start, revision = value.get("start", ""), value.get("rv", 0)
    if (version := value.get("v", "")) != _FORM:
        raise _wrong_token(f"server does not recognize this encoded version {version}")
    if not isinstance(start, str) or type(revision) is not int:  # no boolean
        raise _wrong_token("json: cannot unmarshal a value of another type")
    if not revision:
        raise _wrong_token(f"incorrect encoded start resourceVersion (version {_FORM})")
    if not start:
        raise _wrong_token(f"encoded start key empty (version {_FORM})")
    path = f"/{start.removeprefix('/')}"
    if posixpath.normpath(path) != path:
        raise _wrong_token(start)
    return storage_prefix(request.info.kind) + path[1:], max(0, revision)


def _decoded_token(token: str) -> dict[str, Any]:
    if (at := _NOT_BASE64.search(token)) or len(token) % 4 == 1:
        byte = at.start() if at else len(token) - 1
        raise _wrong_token(f"illegal base64 data at input byte {byte}")
    try:
        value = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except ValueError as err:
        raise _wrong_token(str(err)) from err
    if not isinstance(value, dict):
        raise _wrong_token("it is no JSON object")
    return value


def _wrong_token(why: str) -> StatusError:
    return errors.bad_request(f"invalid continue token: continue key is not valid: {why}")
