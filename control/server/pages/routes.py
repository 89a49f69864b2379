"""Find the page at a path that is not a resource's: health, version, discovery, schemas."""

from typing import Any

from multidict import MultiMapping

from control.api.base import encode
from control.server.pages.discovery import (
    discovery,
    group_versions,
    media_type,
    with_extensions,
)
from control.server.pages.health import PATHS, health
from control.server.pages.identity import IDENTITY, identity
from control.server.pages.openapi.routes import schemas
from control.server.state.server import ServerState
from control.server.wire import errors
from control.server.wire.accept import WHOLE, Accept
from control.server.wire.media import JSON, YAML
from control.server.wire.response import ApiResponse, tagged, text
from control.server.wire.yaml import write
from control.version import KUBERNETES

# Readable without credentials.
PUBLIC = (*PATHS, "/version")
# kubectl compares its own version with this one: the release that the kinds follow.
_VERSION = {
    "major": KUBERNETES.split(".")[0],
    "minor": KUBERNETES.split(".")[1],
    "gitVersion": f"v{KUBERNETES}+podwire",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "CPython",
    "platform": "linux/amd64",
}


def is_public(path: str) -> bool:
    """Return True if a path can be read without credentials."""
    return path.startswith(PUBLIC)


def page(
    state: ServerState, method: str, path: str, query: MultiMapping[str], accept: Accept
) -> ApiResponse | None:
    """Return the page at a path; None for any other path. Raises StatusError (405, 406).

    As upstream, discovery, the version and resources have no HEAD.
    """
    found = None
    if not _is_below_a_version(path):
        found = _page(state, path.rstrip("/") or "/", query, accept)
    if found is None and not _is_of_a_resource(state, path):
        return text("404 page not found\n", 404)
    if found is not None and method != "GET" and not (method == "HEAD" and _has_head(path)):
        raise errors.method_not_allowed()
    return found


def is_page(state: ServerState, path: str) -> bool:
    """Return True for a path where no resource can be: ``page`` answers it, but below a group."""
    return not _is_below_a_version(path) or not _is_of_a_resource(state, path)


def _is_below_a_version(path: str) -> bool:
    """Return True for a path where no page is: most requests are for objects."""
    depth = path.rstrip("/").count("/")
    return (path.startswith("/apis/") and depth > 3) or (path.startswith("/api/") and depth > 2)


def _is_of_a_resource(state: ServerState, path: str) -> bool:
    """Return True for a path below a group that is served: upstream answers those by a Status."""
    parts = path.split("/")[1:]
    if parts[0] == "api":
        return len(parts) > 1
    return parts[0] == "apis" and len(parts) > 1 and parts[1] in _groups(state)


def _groups(state: ServerState) -> set[str]:
    table = state.cache.kinds
    return table.derived("groups", lambda: {group for group, _ in group_versions(table.served)})


def _root(state: ServerState) -> ApiResponse:
    """Name every page, as upstream at ``/``."""
    kinds = state.cache.kinds.served
    served = with_extensions(group_versions(kinds), kinds, state.extensions)
    paths = {"/api", "/apis", "/metrics", "/openapi/v2", "/openapi/v3", "/version", *PATHS}
    paths |= {f"/apis/{group}" for group, _ in served if group}
    paths |= {
        f"/apis/{group}/{version}" if group else f"/api/{version}" for group, version in served
    }
    paths |= {path for path in IDENTITY if identity(state, path)}
    return ApiResponse(encode({"paths": sorted(paths)}))


def _has_head(path: str) -> bool:
    """Return True for a page that upstream's router of resources does not serve."""
    return path.startswith((*PATHS, "/openapi/v"))


def _page(
    state: ServerState, path: str, query: MultiMapping[str], accept: Accept
) -> ApiResponse | None:
    if path == "/":
        return _root(state)
    if path == "/version":
        return ApiResponse(encode(_VERSION))
    if found := identity(state, path):
        return found
    if found := health(state, path, query):
        return found
    address = f"{state.config.advertise_address}:{state.config.port}"
    if document := discovery(path, accept, address, state.cache.kinds.served, state.extensions):
        return tagged(_discovered(document, accept))
    return schemas(path, query, accept, state.cache.kinds, state.extensions)


def _discovered(document: dict[str, Any], accept: Accept) -> ApiResponse:
    """Encode a discovery document; raises StatusError (406)."""
    media = media_type(document)
    if media == JSON and accept.representation(WHOLE).is_yaml:
        return ApiResponse(b"".join(write.pieces(document)), content_type=YAML)
    return ApiResponse(encode(document), content_type=media)
