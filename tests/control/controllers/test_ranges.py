"""The controller of ServiceCIDRs: its finalizer, its condition, and when a range may go."""

from collections.abc import Iterator
from typing import Any

from control.api import kinds
from control.api.ranges import ALLOCATOR, MANAGED_BY, PROTECTION
from control.api.times import rfc3339
from control.controllers.actions import Again, Update, UpdateStatus
from control.controllers.ranges import ServiceRangeController

NOW = 1_000_000.0


class Cluster:
    """Tables of objects by kind."""

    def __init__(self, *ranges: Any, addresses: tuple[str, ...] = (), by: str = ALLOCATOR) -> None:
        labels = {MANAGED_BY: by}
        made = [
            kinds.SERVICE_ADDRESS.model.parse({"metadata": {"name": name, "labels": labels}})
            for name in addresses
        ]
        self._tables = {
            kinds.SERVICE_RANGE: {item.key: item for item in ranges},
            kinds.SERVICE_ADDRESS: {item.key: item for item in made},
        }

    def __getitem__(self, kind: Any) -> "Table":
        return Table(self._tables[kind])


class Table:
    def __init__(self, items: dict[Any, Any]) -> None:
        self._items = items

    def get(self, namespace: str | None, name: str) -> Any:
        return self._items.get((namespace or "", name))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items.values())


def ranges(name: str, *cidrs: str, held: bool = True, ended: float | None = None) -> Any:
    metadata: dict[str, Any] = {"name": name, "finalizers": [PROTECTION] if held else []}
    if ended is not None:
        metadata["deletionTimestamp"] = rfc3339(ended)
    wire = {"metadata": metadata, "spec": {"cidrs": list(cidrs)}}
    return kinds.SERVICE_RANGE.model.parse(wire)


def acts(cluster: Cluster, name: str = "r", now: float = NOW) -> list[Any]:
    return list(ServiceRangeController().reconcile(cluster, ("", name), now))


def test_a_new_range_is_held_and_then_ready():
    (held,) = acts(Cluster(ranges("r", "10.0.0.0/24", held=False)))
    assert isinstance(held, Update)
    assert held.object.metadata.finalizers == [PROTECTION]
    (said,) = acts(Cluster(held.object))
    assert isinstance(said, UpdateStatus)
    assert [(it.type, it.status) for it in said.object.status.conditions] == [("Ready", "True")]
    assert acts(Cluster(said.object)) == []


def test_a_range_with_addresses_stays_until_they_go_or_another_has_them():
    gone = ranges("r", "10.0.0.0/24", "fd00::/112", ended=NOW - 60)
    (said,) = acts(Cluster(gone, addresses=("10.0.0.9",)))
    condition = said.object.status.conditions[0]
    assert (condition.status, condition.reason) == ("False", "Terminating")
    for free in (
        Cluster(gone),
        Cluster(gone, addresses=("10.0.1.9", "fd00::1:1")),
        Cluster(gone, addresses=("10.0.0.9",), by="somebody"),
        Cluster(gone, ranges("other", "10.0.0.8/30"), addresses=("10.0.0.9",)),
        Cluster(gone, ranges("other", "10.0.0.0/16", "fd00::/64"), addresses=("10.0.0.9",)),
    ):
        (ended,) = acts(free)
        assert ended.object.metadata.finalizers == []


def test_a_range_goes_when_every_server_has_heard_of_it():
    (later,) = acts(Cluster(ranges("r", "10.0.0.0/24", ended=NOW - 4)))
    assert later == Again(6.0)
