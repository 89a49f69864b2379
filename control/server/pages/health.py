"""Report the server's health.

Source: https://kubernetes.io/docs/reference/using-api/health-checks/
"""

from collections.abc import Collection, Mapping

from multidict import MultiMapping

from control.server.state.server import ServerState
from control.server.wire.response import ApiResponse, text

PATHS = ("/healthz", "/livez", "/readyz")


def checks(state: ServerState, root: str) -> dict[str, bool]:
    """Return the result of each check by its name.

    The cache is behind the store for a moment after each write. That is no reason to restart a
    server, so only ``readyz`` looks at it.
    """
    if root != "readyz":
        return {"ping": True}
    return {"ping": True, "informer-sync": state.cache.revision >= state.store.revision}


def health(state: ServerState, path: str, query: MultiMapping[str]) -> ApiResponse | None:
    """Return the report at a health path or one of its checks; None for any other path."""
    root, _, single = path.strip("/").partition("/")
    if f"/{root}" not in PATHS:
        return None
    found = checks(state, root)
    if not single:
        return _report(root, found, query.getall("exclude", ()), verbose="verbose" in query)
    if single not in found:
        return None
    return text("ok") if found[single] else text(f"{single} failed\n", 500)


def _report(
    root: str, found: Mapping[str, bool], excluded: Collection[str], *, verbose: bool
) -> ApiResponse:
    good = all(ok for name, ok in found.items() if name not in excluded)
    if good and not verbose:
        return text("ok")
    lines = [_line(name, ok=ok, excluded=name in excluded) for name, ok in found.items()]
    if unknown := [name for name in excluded if name not in found]:
        names = ", ".join(f'"{name}"' for name in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {names}")
    end = f"{root} check {'passed' if good else 'failed'}"
    return text("\n".join([*lines, end, ""]), 200 if good else 500)


def _line(name: str, *, ok: bool, excluded: bool) -> str:
    if excluded:
        return f"[+]{name} excluded: ok"
    return f"[+]{name} ok" if ok else f"[-]{name} failed"
