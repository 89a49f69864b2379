"""What HTTP shows of drops: ``/policy/drops``, as JSON."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from proxy.model.values import Key
from proxy.policy.drops.table import DropRow
from proxy.policy.drops.watch import DropWatch

_LONGEST = 60.0  # seconds


async def drops_page(request: web.Request, watch: DropWatch, node_name: str) -> web.Response:
    """Answer with the rows that changed after ``?after=CHANGE``; wait ``?wait=SECONDS`` for one.

    ``changes`` of the answer is the ``after`` of the next question. ``dropped`` are the kernel's
    exact counts, while rows count what was logged: at most 100 packets a second of each kind.
    """
    try:
        after = int(request.query.get("after", "0"))
        wait = min(float(request.query.get("wait", "0")), _LONGEST)
    except ValueError:
        return web.json_response({"error": "after and wait are numbers"}, status=400)
    if after > watch.table.changes:  # of an earlier process
        after = 0
    if wait > 0:
        await watch.wait(after, wait)
    await watch.read_counts()
    return web.json_response(document(watch, node_name, watch.table.since(after)))


def document(watch: DropWatch, node_name: str, rows: Iterable[DropRow]) -> dict[str, Any]:
    """Return the answer's document."""
    sums = watch.counts.sums().items()
    dropped = [
        {"direction": label[0], "namespace": label[1], "policy": label[2], "packets": count}
        for label, count in sorted(sums)
    ]
    return {
        "node": node_name,
        "changes": watch.table.changes,
        "lost": watch.lost,
        "dropped": dropped,
        "drops": [_row(one) for one in rows],
    }


def _row(row: DropRow) -> dict[str, Any]:
    drop = row.drop
    return {
        "pod": _name(drop.guarded.pod),
        "address": str(drop.guarded.address),
        "direction": str(drop.direction),
        "policies": [_name(key) for key in drop.policies],
        "reason": drop.reason,
        "peer": str(drop.peer),
        "peerAddress": str(drop.peer.address),
        "protocol": drop.protocol,
        "port": drop.port,
        "packets": row.packets,
        "first": _time(row.first),
        "last": _time(row.last),
    }


def _name(key: Key | None) -> str:
    return "/".join(filter(None, key)) if key else ""


def _time(seconds: float) -> str:
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
