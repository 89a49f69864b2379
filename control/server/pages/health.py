"""Whether the server works: https://kubernetes.io/docs/reference/using-api/health-checks/"""

from collections.abc import Mapping

from control.server.state.server import ServerState
from control.server.wire.response import ApiResponse

PATHS = ("/healthz", "/livez", "/readyz")


def checks(state: ServerState) -> dict[str, bool]:
    """Each check, and whether it passes."""
    return {
        "ping": True,
        "watch-cache": state.cache.revision >= state.store.revision,
    }


def health(state: ServerState, path: str, query: Mapping[str, str]) -> ApiResponse | None:
    """The answer of a health path, or of one check below it; None if it is none."""
    root, _, single = path.strip("/").partition("/")
    if f"/{root}" not in PATHS:
        return None
    found = checks(state)
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
