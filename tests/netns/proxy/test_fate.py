"""The packet-fate table with real packets, for every backend in both families."""

import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.support.proxy.backends import BACKENDS, apply, grouped_lab, remove
from tests.support.proxy.fate import rows, targets
from tests.support.proxy.lab import ProxyLab, call_filter
from tests.support.proxy.prober import SCTP, TCP, UDP, Answer, Probe
from tests.support.proxy.prober import ask as ask_all
from tests.support.proxy.world import NODE, SETTINGS, SOURCES, Case, desired
from tests.support.space import Space

_SCTP_ROWS = 5  # every so many rows are tried with SCTP too
_SILENCE = 0.5  # seconds after which a packet counts as dropped
_HERE = ("pod", "self", "node")


def forget_rules() -> None:
    """In the node: empty the rules' Service maps, except those for refusals and source ranges."""
    stores = [(ip, side) for ip in ("ip", "ip6") for side in ("", "port-")]
    for ip, side in stores:
        command = ["nft", "flush", "map", ip, "podwire-proxy", f"{side}services"]
        subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def lab(spaces: Callable[[str], Space]) -> Iterator[ProxyLab]:
    with grouped_lab(spaces, "fate", {"ebpf-algorithm": "maglev"}) as made:
        made.spaces["node"].sysctl("net.ipv4.conf.all.route_localnet", 1)
        yield made


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("settings", SETTINGS)
def test_packets_meet_their_fates(lab: ProxyLab, backend: str, version: int, settings: str) -> None:
    meet(lab, backend, version, settings)


@pytest.mark.parametrize("version", [4, 6])
def test_a_host_may_filter_all_its_bridges(lab: ProxyLab, version: int) -> None:
    """Mode ebpf does not need it, but another program may."""
    call_filter(lab.spaces["node"], True)
    try:
        meet(lab, "ebpf-packets", version, "default")
    finally:
        call_filter(lab.spaces["node"], False)


def meet(lab: ProxyLab, backend: str, version: int, settings: str) -> None:
    """Send packets to all rows with these settings, and compare."""
    table = enumerate(rows(version))
    cases = [Case(row, number, version) for number, row in table if row.settings == settings]
    mode, options = BACKENDS[backend]
    lab.workers["node"].call(apply, mode, options, SETTINGS[settings], desired(cases))
    asked = {source: [*_questions(cases, source)] for source in SOURCES}
    # Where pods cannot be told by their range, somebody else's masquerading may concern them.
    if backend == "ebpf-packets" and any(one.network for one in SETTINGS[settings].pods.values()):
        lab.workers["node"].call(forget_rules)
        asked = {source: _of_packets(ones) for source, ones in asked.items() if source != "node"}
    for source, questions in asked.items():
        lab.client(source).start(ask_all, [probe for _, probe in questions])
    answered = {source: lab.client(source).finish() for source in asked}
    lab.workers["node"].call(remove)
    faults = [
        fault
        for source, questions in asked.items()
        for (case, probe), answers in zip(questions, answered[source], strict=True)
        for fault in _faults(case, source, probe, answers)
    ]
    assert not faults, "\n".join(faults)


def _questions(cases: list[Case], source: str) -> Iterator[tuple[Case, Probe]]:
    for case in cases:
        if source not in case.row.fates:
            continue
        for protocol in (TCP, UDP, SCTP) if case.number % _SCTP_ROWS == 0 else (TCP, UDP):
            address, port = case.destination()
            reachable, sure = _reachable(case, source)
            yield (
                case,
                Probe(
                    str(address),
                    port,
                    protocol,
                    until=frozenset(reachable),
                    tries=150 if reachable else 1,
                    timeout=60.0 if sure or case.row.fates[source] == "reject" else _SILENCE,
                    strict=sure,
                ),
            )


def _of_packets(questions: list[tuple[Case, Probe]]) -> list[tuple[Case, Probe]]:
    """Return the questions that the program for packets answers."""
    return [(case, probe) for case, probe in questions if probe.protocol != SCTP]


def _reachable(case: Case, source: str) -> tuple[dict[str, bool], bool]:
    """Return the endpoints whose answers arrive, and True if those are all endpoints of the fate.

    If client and endpoint are both elsewhere and the connection is not masqueraded, the answer does
    not come back through this node. The client does not take it for the answer to its question.
    """
    expected = targets(case.row.fates[source])
    lost = {"C"} if source not in _HERE and expected.get("C") is False else set()
    found = {name: masked for name, masked in expected.items() if name not in lost}
    return found, bool(found) and not lost


def _faults(case: Case, source: str, probe: Probe, answers: list[Answer]) -> Iterator[str]:
    expected = case.row.fates[source]
    reachable, sure = _reachable(case, source)
    allowed = set(reachable) | (set() if sure else {"silent", "refused"})
    if expected in ("reject", "drop"):
        allowed = {"refused" if expected == "reject" else "silent"}
    names = {answer.name for answer in answers}
    where = f"{case.row.id}: {probe.protocol} from {source} to {probe.address}:{probe.port}"
    if not names <= allowed or not set(reachable) <= names:
        yield f"{where}: expected {expected}, answered {sorted(names)}"
    for answer in answers:
        masked = reachable.get(answer.name)
        if masked is not None and answer.peer != (
            _way_out(answer.name, case) if masked else answer.source
        ):
            yield f"{where}: {answer.name} saw {answer.peer} for {answer.source}, want {expected}"


def _way_out(name: str, case: Case) -> str:
    """Return the node's address on the link towards an endpoint, which a masqueraded connection
    shows.
    """
    lan, lan6, bridge, bridge6 = map(str, NODE.addresses)
    here, away = (bridge, lan) if case.version == 4 else (bridge6, lan6)
    return away if name == "C" else here
