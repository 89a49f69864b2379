"""Whether the server works: https://kubernetes.io/docs/reference/using-api/health-checks/"""

from collections.abc import Mapping

from control.server.state.world import World
from control.server.wire.answer import Answer

PATHS = ("/healthz", "/livez", "/readyz")


def checks(world: World) -> dict[str, bool]:
    """Each check, and whether it passes."""
    return {
        "ping": True,
        "watch-cache": world.cache.revision >= world.store.revision,
    }


def health(world: World, path: str, query: Mapping[str, str]) -> Answer | None:
    """The answer of a health path, or of one check below it; None if it is none."""
    root, _, single = path.strip("/").partition("/")
    if f"/{root}" not in PATHS:
        return None
    found = checks(world)
    if single:
        if single not in found:
            return None
        found = {single: found[single]}
    return _report(root, found, verbose="verbose" in query)


def _report(root: str, found: Mapping[str, bool], *, verbose: bool) -> Answer:
    good = all(found.values())
    if good and not verbose:
        return _text("ok", 200)
    lines = [f"[+]{name} ok" if ok else f"[-]{name} failed" for name, ok in found.items()]
    return _text(
        "\n".join([*lines, f"{root} check {'passed' if good else 'failed'}", ""]),
        200 if good else 500,
    )


def _text(text: str, code: int) -> Answer:
    return Answer(text.encode(), code, "text/plain; charset=utf-8")
