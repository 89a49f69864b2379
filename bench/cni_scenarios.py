"""What ``bin/bench cni`` measures: subjects, the kinds of their requests, and the samples."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from bench import cni_plugins
from bench.ratios import Ratio, paired
from bench.versus import Tree

REFERENCE = Path("/usr/lib/cni")
DATA = "/run/podwire-bench/networks"
_NOWHERE = "/nowhere"
_RANGES = {4: "10.1.0.0/16", 6: "fd00:1::/64"}


@dataclass(frozen=True)
class Subject:
    """Somebody's plugins: the chain's programs, and whether they are the reference's."""

    name: str
    program: Path | None = None
    socket: str = ""  # of a warm server
    tree: str = ""  # the checkout's name, if there are two
    call: int = 0  # of those that a server is left behind for, if it is one: 1 or 2

    @property
    def label(self) -> str:
        """Its name in a chart."""
        return f"{self.name} {self.tree}".strip()

    def chain(self, conf: dict[str, Any]) -> list[tuple[Path, dict[str, Any]]]:
        """The programs that a runtime executes for a configuration, each with its part."""
        if self.program is not None:
            return [(self.program, conf | {"type": "podwire-cni"})]
        interface = conf | {"type": "bridge"}
        if not conf.get("runtimeConfig"):
            return [(REFERENCE / "bridge", interface)]
        interface.pop("runtimeConfig")
        return [
            (REFERENCE / "bridge", interface),
            (REFERENCE / "portmap", conf | {"type": "portmap", "snat": True}),
        ]


REFERENCE_SUBJECT = Subject("reference")


def subjects_of(tree: Tree) -> tuple[Subject, ...]:
    """The ways to call the plugin of a checkout."""
    c_client, python = (cni_plugins.program(tree, client) for client in ("c", "python"))
    served, left = cni_plugins.socket(tree), cni_plugins.socket(tree, "left.sock")
    found = (
        Subject("C client", c_client, served, tree.name),
        Subject("Python client", python, served, tree.name),
        Subject("no server", c_client, _NOWHERE, tree.name),
    )
    if not cni_plugins.leaves_servers(tree):
        return found
    return (
        *found,
        Subject("first call", c_client, left, tree.name, 1),
        Subject("second call", c_client, left, tree.name, 2),
    )


@dataclass(frozen=True)
class Sample:
    """Milliseconds of one round."""

    wall: float
    cpu: float


@dataclass
class Scenario:
    """A kind of request; the configuration depends on the subject's place."""

    title: str
    conf: Callable[[str], dict[str, Any]]
    subjects: Sequence[Subject] = ()
    reservations: int = 0
    parallel: int = 1
    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=dict)

    def subject(self, name: str) -> Subject:
        """A subject of this checkout by its name."""
        return next(item for item in self.subjects if item.name == name)

    def walls(self, subject: Subject, verb: str) -> list[float]:
        """The milliseconds of each round."""
        return [item.wall for item in self.samples[subject.label, verb]]

    def cpus(self, subject: Subject, verb: str) -> list[float]:
        """The CPU times of each round, milliseconds."""
        return [item.cpu for item in self.samples[subject.label, verb]]

    def ratio(self, subject: Subject, verb: str) -> Ratio:
        """The ratio to the reference, round by round."""
        return paired(self.walls(subject, verb), self.walls(REFERENCE_SUBJECT, verb))


def conf(place: str, *, ipv6: bool = False, **more: Any) -> dict[str, Any]:
    """The network of one subject in one scenario, with its own bridge and its own files."""
    subnets = [_RANGES[4]] + ([_RANGES[6]] if ipv6 else [])
    return {
        "cniVersion": "1.0.0",
        "name": place,
        "bridge": f"b{abs(hash(place)) % 10**10}",
        "isGateway": True,
        "isDefaultGateway": True,
        "ipam": {
            "type": "host-local",
            "dataDir": DATA,
            "ranges": [[{"subnet": subnet}] for subnet in subnets],
        },
    } | more


def scenarios(measured: Iterable[Tree], parallel: int) -> list[Scenario]:
    """All scenarios, with the subjects that take part in each."""
    subjects = [*chain.from_iterable(map(subjects_of, measured)), REFERENCE_SUBJECT]
    found = _scenarios(parallel)
    for scenario in found:
        scenario.subjects = [item for item in subjects if _takes_part(item, scenario)]
    return found


def _takes_part(subject: Subject, scenario: Scenario) -> bool:
    # Many at once without a server tell nothing but how many CPUs there are.
    alone = subject.socket == _NOWHERE or subject.call
    return not alone or (scenario.parallel == 1 and not (subject.call and scenario.reservations))


def _scenarios(parallel: int) -> list[Scenario]:
    ports = [{"hostPort": 8080 + i, "containerPort": 80, "protocol": "tcp"} for i in range(2)]
    return [
        Scenario("one", conf),
        Scenario("1,000 reservations", conf, reservations=1_000),
        Scenario("20,000 reservations", conf, reservations=20_000),
        Scenario("dual stack, masquerade", lambda place: conf(place, ipv6=True, ipMasq=True)),
        Scenario(
            "dual stack, masquerade, 2 ports",
            lambda place: conf(
                place, ipv6=True, ipMasq=True, runtimeConfig={"portMappings": ports}
            ),
        ),
        Scenario(f"{parallel} at once", conf, parallel=parallel),
    ]
