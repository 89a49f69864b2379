"""What ``kubectl get`` shows of metrics. Pure.

Source: https://github.com/kubernetes-sigs/metrics-server/blob/master/pkg/api/table.go
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from control.api.amounts import Amounts, add, parsed
from control.api.columns.base import NAME, Cell, Column, Columns, Wire, name_of

_COLUMNS = (NAME, Column("cpu"), Column("memory"), Column("Window"))


def _cells(wire: Wire, parts: Iterable[Wire]) -> Sequence[Cell]:
    total: Amounts = {}
    for part in parts:
        add(total, parsed(part.get("usage")))
    used = (str(total.get(name, "")) for name in ("cpu", "memory"))
    return name_of(wire), *used, wire.get("window", "")


def _node(wire: Wire, _now: datetime) -> Sequence[Cell]:
    return _cells(wire, [wire])


def _pod(wire: Wire, _now: datetime) -> Sequence[Cell]:
    return _cells(wire, wire.get("containers") or ())


NODE_METRICS = Columns(_COLUMNS, _node)
POD_METRICS = Columns(_COLUMNS, _pod)
