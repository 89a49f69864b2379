"""Watch events as lines of JSON. Pure."""

import orjson

from control.api.kinds import Kind
from control.server.watch import Bookmark, Notice, Signal

_INITIAL_END = "k8s.io/initial-events-end"


def frame(kind: Kind, signal: Signal) -> bytes:
    """One event, with its line end; an object is spliced in as it is stored."""
    if isinstance(signal, Notice):
        return b'{"type":"%b","object":%b}\n' % (signal.type.encode(), signal.item.raw)
    if isinstance(signal, Bookmark):
        return b'{"type":"BOOKMARK","object":%b}\n' % orjson.dumps(bookmark(kind, signal))
    return b'{"type":"ERROR","object":%b}\n' % signal.refused.body()


def bookmark(kind: Kind, signal: Bookmark) -> dict[str, object]:
    """The object of a bookmark: nothing but a resourceVersion."""
    metadata: dict[str, object] = {"resourceVersion": str(signal.revision)}
    if signal.initial_end:
        metadata["annotations"] = {_INITIAL_END: "true"}
    return {"kind": kind.name, "apiVersion": kind.api_version, "metadata": metadata}
