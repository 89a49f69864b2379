"""Report the server's health.

Source: https://kubernetes.io/docs/reference/using-api/health-checks/
"""

from collections.abc import Mapping

from control.server.state.server import ServerState
from control.server.wire.response import ApiResponse

PATHS = ("/healthz", "/livez", "/readyz")


def checks(state: ServerState, root: str) -> dict[str, bool]:
    """Return the result of each check by its name.

    The cache is behind the store for a moment after each write. That is no reason to restart a
    server, so only ``readyz`` looks at it.
    """
    if root != "readyz":
        return {"ping": True}
    return {"ping": True, "watch-cache": state.cache.revision >= state.store.revision}


def health(state: ServerState, path: str, query: Mapping[str, str]) -> ApiResponse | None:
    """Return the report at a health path or one of its checks; None for any other path."""
    root, _, single = path.strip("/").partition("/")
    if f"/{root}" not in PATHS:
        return None
    found = checks(state, root)
    if single:
        if single not in found:
            return None
        found = {single: found[single]}
    return _report(root, found, verbose="verbose" in query)


def _report(root: str, found: Mapping[str, bool], *, verbose: bool) -> ApiResponse:
    good = all(found.values())
    if good and not verbose:
        return _text("ok", 200)
    lines = [f"[+]{name} ok" if ok else f"[-]{name} failed" for name, ok in found.items()]
    return _text(
        "\n".join([*lines, f"{root} check {'passed' if good else 'failed'}", ""]),
        200 if good else 500,
    )


def _text(text: str, code: int) -> ApiResponse:
    return ApiResponse(text.encode(), code, "text/plain; charset=utf-8")
