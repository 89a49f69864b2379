"""The measurements of the proxy, and files that keep them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

from pydantic import TypeAdapter

from bench.ratios import Ratio, ratio_of

Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Turn:
    """Seconds of a new connection, each the median of some that were made in turns."""

    direct: float  # to a pod of the node
    service: float  # to the same pod through a ClusterIP
    bare: float  # to a pod, on a node without a proxy


@dataclass(slots=True)
class Round:
    """The measurements of one process of the proxy."""

    load: float = 0.0  # seconds
    load_busy: float = 0.0  # processor seconds of it
    changes: list[float] = field(default_factory=list)  # seconds
    memory: float = 0.0  # megabytes
    most_memory: float = 0.0
    busy: float = 0.0  # processors at 50 changes a second
    turns: dict[str, list[Turn]] = field(default_factory=dict)  # by the CPUs they ran on
    beside_big: list[float] = field(default_factory=list)  # a change while a big one is written
    load_beside_big: float = 0.0
    transfers: list[Pair] = field(default_factory=list)  # seconds: to the pod, the Service


@dataclass(slots=True)
class Result:
    """The rounds of one back end of one checkout with some number of Services."""

    backend: str
    tree: str
    services: int
    conditions: str  # when, and on which machine
    commit: str = ""
    machine_load: float = 0.0  # the load average at the end
    rounds: list[Round] = field(default_factory=list)

    @property
    def label(self) -> str:
        """Its name in a chart."""
        return f"{self.backend} {self.tree}".strip() + f", {self.services:,}"

    def median(self, value: Callable[[Round], float]) -> float:
        """The median of the rounds' values."""
        return median(map(value, self.rounds))

    @property
    def changes(self) -> list[float]:
        """Milliseconds of all changes."""
        return [each * 1e3 for one in self.rounds for each in one.changes]

    @property
    def late_change(self) -> float:
        """The 99th percentile of the changes, milliseconds."""
        return quantiles(self.changes, n=100)[98]

    def beside_big(self) -> Ratio:
        """A change while a big Service is written, as a multiple of one before."""
        rounds = [one for one in self.rounds if one.beside_big]
        return ratio_of([[each / median(one.changes) for each in one.beside_big] for one in rounds])

    @property
    def placements(self) -> list[str]:
        """The CPUs on which connections were made."""
        return sorted({name for one in self.rounds for name in one.turns})

    def cost(self, cpus: str) -> Ratio:
        """A new connection to the Service, as a multiple of one to the pod."""
        return self._turns(cpus, lambda turn: turn.service / turn.direct)

    def whole_cost(self, cpus: str) -> Ratio:
        """A new connection to the Service, as a multiple of one on a node without a proxy."""
        return self._turns(cpus, lambda turn: turn.service / turn.bare)

    def rate(self) -> Ratio:
        """The throughput to the Service, as a share of that to the pod."""
        return ratio_of([[pair[0] / pair[1] for pair in one.transfers] for one in self.rounds])

    def _turns(self, cpus: str, ratio: Callable[[Turn], float]) -> Ratio:
        return ratio_of([[ratio(turn) for turn in one.turns[cpus]] for one in self.rounds])


_KEPT = TypeAdapter(list[Result])


def save(results: list[Result], path: Path) -> None:
    """Keep results, to be shown with those of other runs."""
    path.write_bytes(_KEPT.dump_json(results))


def read(paths: Iterable[Path]) -> list[Result]:
    """Results that ``save`` has kept."""
    return [one for path in paths for one in _KEPT.validate_json(path.read_bytes())]
