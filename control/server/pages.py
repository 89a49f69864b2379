"""What is not a resource: health, version, discovery and schemas, by path."""

from collections.abc import Callable, Mapping

from control.api.base import encode
from control.server import errors
from control.server.answer import Answer
from control.server.world import World

# Readable without being known: https://kubernetes.io/docs/reference/using-api/health-checks/
PUBLIC = frozenset({"/healthz", "/livez", "/readyz", "/version", "/version/"})
_VERSION = {
    "major": "1",
    "minor": "33",
    "gitVersion": "v1.33.0+podwire",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "CPython",
    "platform": "linux/amd64",
}
Page = Callable[[World, Mapping[str, str]], Answer]


def _version(_: World, __: Mapping[str, str]) -> Answer:
    return Answer(encode(_VERSION))


def _health(world: World, query: Mapping[str, str]) -> Answer:
    checks = {"ping": True, "watch-cache": world.cache.revision >= world.store.revision}
    good = all(checks.values())
    lines = [
        f"[{'+' if ok else '-'}]{name} {'ok' if ok else 'failed'}" for name, ok in checks.items()
    ]
    verbose = "verbose" in query or not good
    text = "\n".join([*lines, "check passed" if good else "check failed", ""]) if verbose else "ok"
    return Answer(text.encode(), 200 if good else 500, "text/plain; charset=utf-8")


_PAGES: dict[str, Page] = {
    "/version": _version,
    "/healthz": _health,
    "/livez": _health,
    "/readyz": _health,
}


def page(world: World, method: str, path: str, query: Mapping[str, str]) -> Answer | None:
    """The page at a path, None if there is none; raises Refused (405)."""
    found = _PAGES.get(path.rstrip("/"))
    if found is None:
        return None
    if method not in ("GET", "HEAD"):
        raise errors.method_not_allowed()
    return found(world, query)
