"""What the programs of ``podwire probe`` tell: unpacked, named, added up, and shown."""

import ctypes
import errno
import io
import json
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import astuple
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from control.reported import ReportedError
from debug.cluster import ClusterState
from debug.places import Ground, Place, PlaceError
from debug.probe import bcc, commands, compiler, connects, core, means, naming
from debug.probe.connects import ConnectSum, connect
from debug.probe.drops import DropRow, grown
from debug.probe.events import CONNECTS, SocketEnd, SocketEvent, drops, event, socket_end
from debug.probe.histogram import Histogram, bars
from debug.probe.naming import Arrivals, Names, Scene
from debug.probe.retransmits import Retransmit, RetransmitSum, retransmit
from debug.probe.sockets import ConnectionSum, connection
from debug.probe.text import line, tables
from debug.probe.wanted import Wanted
from lab.main import load
from proxy.model.errors import KernelRefusedError
from tests.support.views import STATE

HERE = Place("n1", 1, "/proc/self/ns/net")
NAMES = Names(STATE)
MILLISECOND = 1_000_000


def heard(destination: str = "10.96.0.10", port: int = 80, **more: object) -> SocketEvent:
    values = {"time": 0, "took": MILLISECOND, "netns": 1, "pid": 7, "error": 0, "state": 1}
    ends = {"source": "10.244.2.2", "source_port": 4000, "destination": destination, "port": port}
    return SocketEvent(**{**values, **ends, "is_answer": False, "command": "curl", **more})


@pytest.mark.parametrize(
    ("family", "packed", "text"),
    [
        (socket.AF_INET, bytes([10, 0, 0, 1]), "10.0.0.1"),
        (socket.AF_INET6, bytes([0xFD, *[0] * 14, 1]), "fd00::1"),
        (socket.AF_INET6, bytes([*[0] * 10, 255, 255, 10, 0, 0, 1]), "10.0.0.1"),
    ],
)
def test_an_event_is_unpacked(family: int, packed: bytes, text: str) -> None:
    end = packed.ljust(16, b"\0")
    head = struct.pack("=QQIIiHHHBB", 1, 2, 3, 4, 111, 5, 6, family, 7, 1)
    found = event(head + end + end + b"curl\0rest".ljust(16, b"\0") + bytes(4))
    assert (found.source, found.destination, found.command) == (text, text, "curl")
    assert (found.took, found.netns, found.error, found.port, found.is_answer) == (
        2,
        3,
        111,
        6,
        True,
    )


def test_an_entry_of_drops_is_unpacked() -> None:
    key = struct.pack("=QIIHHB3x16s", 16, 6, 3, socket.AF_INET, 53, 17, bytes([10, 0, 0, 1]))
    (found,) = drops([(key, struct.pack("=QQ", 2, 120))])
    assert (found.function, found.reason, found.netns, found.protocol) == (16, 6, 3, 17)
    assert (found.destination, found.port, found.packets, found.bytes) == ("10.0.0.1", 53, 2, 120)


@pytest.mark.parametrize(
    ("state", "error", "outcome"),
    [
        (1, 0, "connected"),
        (2, 0, "waiting"),
        (7, errno.ECONNREFUSED, "refused"),
        (7, errno.ETIMEDOUT, "timed out"),
        (7, errno.EHOSTUNREACH, "no way to it"),
        (7, 0, "given up"),
        (7, errno.EPERM, "Operation not permitted"),
    ],
)
def test_a_connect_says_how_it_ended(state: int, error: int, outcome: str) -> None:
    assert connect(HERE, heard(state=state, error=error), "", NAMES).outcome == outcome


@pytest.mark.parametrize(
    ("end", "service", "owner"),
    [
        (("10.96.0.10", 80), "ns/web:http", ""),  # a ClusterIP
        (("192.168.0.1", 30080), "ns/ports:http", ""),  # a NodePort
        (("192.168.0.1", 30079), "", "Node n1"),
        (("192.0.2.1", 80), "", ""),
    ],
)
def test_who_is_called_has_a_name(end: tuple[str, int], service: str, owner: str) -> None:
    found = connect(HERE, heard(*end), "", NAMES)
    assert (found.service, found.owner) == (service, owner)


def test_an_endpoint_that_is_called_directly_names_its_services() -> None:
    called = connect(HERE, heard("10.244.1.2", 8080), "", NAMES).service
    assert "ns/web:http" in called.split(" or ")
    assert len(called.split(" or ")) > 1, "several Services have this endpoint"


def test_times_are_in_slots_and_no_percentile_is_above_the_longest() -> None:
    histogram = Histogram()
    for milliseconds in (1, 1, 1, 1000):
        histogram.add(milliseconds * MILLISECOND)
    found = histogram.latency()
    assert (found.count, found.least_ms, found.most_ms) == (4, 1.0, 1000.0)
    assert (found.median_ms, found.p99_ms) == (1.024, 1000.0)
    assert [(one.below_ms, one.count) for one in found.slots] == [(1.024, 3), (1048.576, 1)]
    first, second = bars(found)
    assert (first.count("█"), second.count("█")) == (40, 14)


def test_sorts_of_connects_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connects, "MOST_ROWS", 2)
    total = ConnectSum()
    total.add(connect(HERE, heard(port=port), "", NAMES) for port in (80, 81, 82, 83, 80))
    assert (len(total.rows()), total.left_out) == (2, 2)
    assert sum(one.latency.count for one in total.rows()) == 3


@pytest.mark.parametrize(
    ("one", "what", "peer", "service"),
    [
        (heard(state=2), "SYN", "10.96.0.10:80", "ns/web:http"),
        (heard(), "data", "10.96.0.10:80", "ns/web:http"),
        # an endpoint that answers a client, whose port means nothing
        (
            heard("10.9.9.9", 4000, source="10.244.1.3", source_port=8080, is_answer=True),
            *("SYN-ACK", "10.9.9.9", "ns/web:http"),
        ),
    ],
)
def test_a_retransmit_names_the_service(
    one: SocketEvent, what: str, peer: str, service: str
) -> None:
    found = retransmit(HERE, one, NAMES)
    assert (found.what, found.peer) == (what, peer)
    assert service in found.service.split(" or ")


def test_alike_retransmits_are_one_row_with_their_number() -> None:
    total = RetransmitSum()
    total.add(retransmit(HERE, heard(state=state), NAMES) for state in (2, 1, 1))
    assert [(one.what, one.packets) for one in total.rows()] == [("data", 2), ("SYN", 1)]


def ended(one: SocketEvent, role: int = 0, trip: int = 8000) -> SocketEnd:
    return SocketEnd(*astuple(one), 100, 200, trip, 900, 1, role)


def test_the_end_of_a_connection_is_unpacked() -> None:
    head = struct.pack("=QQIIiHHHBB", 1, 2, 3, 4, 0, 5, 6, socket.AF_INET, 7, 0)
    found = socket_end(head + bytes(52) + struct.pack("=QQIIII", 1, 2, 8000, 900, 3, 2))
    assert (found.took, found.sent, found.received) == (2, 1, 2)
    assert (found.trip, found.least, found.again, found.role) == (8000, 900, 3, 2)


@pytest.mark.parametrize(
    ("one", "role", "end"),
    [
        (ended(heard(), 1), "client", "10.96.0.10:80"),
        (ended(heard(), 2), "server", "10.244.2.2:4000"),
        (ended(heard()), "client", "10.96.0.10:80"),
        (
            ended(heard("10.9.9.9", 1, source="10.244.1.3", source_port=8080)),
            *("server", "10.244.1.3:8080"),
        ),
    ],
)
def test_an_end_of_a_connection_has_a_role(one: SocketEnd, role: str, end: str) -> None:
    found = connection(HERE, one, "", NAMES)
    assert (found.role, found.end, found.trip_ms, found.least_ms) == (role, end, 1.0, 0.9)


def test_connections_are_added_up_and_what_was_not_measured_is_left_out() -> None:
    total = ConnectionSum()
    every = (ended(heard(took=0), 1), ended(heard(), 1), ended(heard(), 1, trip=0))
    total.add(connection(HERE, one, "10.244.1.2:8080", NAMES) for one in every)
    (row,) = total.rows()
    assert (row.count, row.trip.count, row.open.count) == (3, 2, 2)
    assert (row.sent, row.received, row.again, row.service) == (300, 600, 3, "ns/web:http")
    assert total.by_service()["ns/web:http"] == row.trip


def test_drops_grow_by_sort() -> None:
    def row(destination: str, packets: int) -> DropRow:
        return DropRow("n1", "Node n1", "f", "R", "TCP", destination, packets, packets * 60)

    found = grown([row("a", 2), row("b", 1)], [row("a", 5), row("b", 1), row("c", 1)])
    assert [(one.destination, one.packets, one.bytes) for one in found] == [
        ("a", 3, 180),
        ("c", 1, 60),
    ]


class Lens:
    """Namespaces that come and go: which inode is whose."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *inodes: int) -> None:
        self.inodes, self.looks = set(inodes), 0
        monkeypatch.setattr(naming, "by_inode", lambda _: [(one, HERE) for one in self.inodes])

    def __call__(self) -> tuple[Ground, ClusterState]:
        self.looks += 1
        return Ground((HERE,)), STATE


def test_an_event_of_a_new_pod_waits_until_its_namespace_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lens = Lens(monkeypatch, 1)
    arrivals = Arrivals(Scene(lens, ""))
    lens.inodes.add(2)
    assert arrivals.placed([heard(netns=2)]) == [], "it looked a moment ago"
    monkeypatch.setattr(naming, "_AGAIN", 0.0)
    assert arrivals.placed([]) == [(HERE, heard(netns=2))]


def test_it_looks_once_for_a_namespace_that_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "_AGAIN", 0.0)
    arrivals = Arrivals(Scene(lens := Lens(monkeypatch, 1), ""))
    assert arrivals.placed([heard(netns=9), heard(netns=9)]) == []
    assert arrivals.placed([heard(netns=9)]) == []
    assert lens.looks == 2


def test_names_that_are_old_are_asked_for_again_and_kept_if_nobody_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states = [ClusterState(), STATE, ClusterState()]
    lens = Lens(monkeypatch, 1)
    scene = Scene(lambda: (lens()[0], states.pop(0)), "")
    assert scene.names.service("10.96.0.10", 80) == ""
    monkeypatch.setattr(naming, "_OLD", 0.0)
    for _ in range(2):
        Arrivals(scene).placed([heard()])
        assert scene.names.service("10.96.0.10", 80) == "ns/web:http"
    assert states == []


def test_a_lab_that_ends_meanwhile_ends_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    lens = Lens(monkeypatch, 1)
    scene = Scene(lens, "")
    monkeypatch.setattr(naming, "_AGAIN", 0.0)

    def gone() -> None:
        raise PlaceError("lab lab is not up")

    scene._look = gone
    assert Arrivals(scene).placed([heard(netns=2), heard()]) == [(HERE, heard())]


def test_only_one_node_is_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    lens = Lens(monkeypatch, 1)
    with pytest.raises(PlaceError, match="no node n2 can be entered from here: there are n1"):
        Scene(lens, "n2")
    assert Scene(lens, "n1").place(1) == HERE


def lacks_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bcc, "_PACKAGE", SimpleNamespace(exists=lambda: False))
    monkeypatch.setattr(bcc, "_KHEADERS", SimpleNamespace(exists=lambda: False))
    monkeypatch.setenv("BCC_KERNEL_SOURCE", "/none")
    monkeypatch.setattr(core, "_BTF", SimpleNamespace(exists=lambda: False))


def test_where_neither_means_is_there_one_line_says_what_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lacks_all(monkeypatch)
    with pytest.raises(ReportedError) as said:
        means.opened(CONNECTS, "auto")
    text = str(said.value)
    assert text.startswith("podwire probe connects cannot listen here, not by bcc: ")
    assert "python3-bpfcc is not installed" in text
    assert "has no headers here (/none" in text
    assert "not by CO-RE (libbpf): the kernel has no BTF" in text
    assert "\n" not in text


def test_bcc_comes_first_and_core_says_why_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(title: str, why: str = "") -> object:
        def means_of(_: object) -> object:
            if why:
                raise KernelRefusedError(why)
            return SimpleNamespace(title=title)

        means_of.title = title
        return means_of

    monkeypatch.setattr(means, "MEANS", {"bcc": make("bcc"), "core": make("core")})
    assert means.opened(CONNECTS, "auto")[0].title == "bcc"
    assert means.opened(CONNECTS, "core")[0].title == "core"
    monkeypatch.setattr(means, "MEANS", {"bcc": make("bcc", "no"), "core": make("core")})
    found, refused = means.opened(CONNECTS, "auto")
    assert (found.title, refused) == ("core", ["not by bcc: no"])


@pytest.fixture
def python(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """A process in the place of bcc's, which answers with some lines."""

    def serve(*lines: str, errors: str = "") -> bcc.BccMeans:
        script = tmp_path / "compiler.py"
        script.write_text(
            f"import sys\nprint({errors!r}, file=sys.stderr, flush=True)\n"
            f"for line in {lines!r}:\n  print(line, flush=True)\n  sys.stdin.readline()\n"
        )
        monkeypatch.setattr(bcc, "_HERE", tmp_path)
        monkeypatch.setattr(bcc, "_PYTHON", sys.executable)
        monkeypatch.setattr(bcc, "lacking", lambda: iter(()))
        return bcc.BccMeans(CONNECTS)

    return serve


def test_bccs_process_is_asked_and_answers(python) -> None:
    answers = ({"ready": True}, {"events": ["0aff"]}, {"entries": [["01", "02"], ["0102", "03"]]})
    asked = python(*map(json.dumps, (*answers, {"lost": 5})))
    try:
        assert asked.events(0.1) == [b"\x0a\xff"]
        assert asked.entries("begun", 1, 1) == [(b"\1", b"\2")], "those of another size are none"
        assert asked.lost() == 5
        with pytest.raises(KernelRefusedError, match="process has ended"):
            asked.lost()
    finally:
        asked.close()


def test_what_the_compiler_says_is_told_in_one_line(python) -> None:
    errors = "warning: w\n/virtual/main.c:3: error: no member named 'x'\n1 error generated."
    with pytest.raises(KernelRefusedError) as said:
        python(json.dumps({"error": "Exception: Failed to compile"}), errors=errors)
    assert str(said.value) == (
        "bcc: Exception: Failed to compile: /virtual/main.c:3: error: no member named 'x'"
    )


class Bcc(SimpleNamespace):
    """The module bcc, as far as it is used: one ring, with one event in it."""

    def __init__(self) -> None:
        super().__init__(attached=[], text="", BPF=self.load)

    def load(self, text: str) -> "Bcc":
        self.text = text
        return self

    def attach_raw_tracepoint(self, tp: str, fn_name: str) -> None:
        self.attached.append((tp, fn_name))

    def __getitem__(self, table: str) -> object:
        if table == "lost":
            return {0: SimpleNamespace(value=3)}
        entries = [(ctypes.c_uint16(1), ctypes.c_uint16(2))]
        return SimpleNamespace(open_ring_buffer=self.open, items=lambda: entries)

    def open(self, hear: Callable[[object, int, int], int]) -> None:
        self.hear = hear

    def ring_buffer_consume(self) -> None:
        data = ctypes.create_string_buffer(b"event")
        self.hear(None, ctypes.addressof(data), 5)


def test_bccs_process_serves_until_its_input_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "bcc", fake := Bcc())
    asked = ({"events": 0.01}, {"events": 0}, {"entries": "begun"}, {"lost": True})
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{json.dumps(one)}\n" for one in asked)))
    compiler.main(str(bcc._HERE / "bpf/connects.bpf.c"), json.dumps(CONNECTS.functions))
    event = {"events": [b"event".hex()]}
    told = [{"ready": True}, event, event, {"entries": [["0100", "0200"]]}, {"lost": 3}]
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == told
    assert fake.attached == [("inet_sock_set_state", "on_state")]
    assert fake.text.startswith("#define BY_BCC 1\n")


def test_bccs_process_says_why_it_cannot(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "bcc", None)
    compiler.main(str(bcc._HERE / "bpf/drops.bpf.c"), "[]")
    (answer,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert answer["error"].startswith("ModuleNotFoundError: ")


def test_bcc_gets_one_text_without_our_own_includes() -> None:
    for probe in ("connects", "sockets", "retransmits", "drops"):
        text = compiler.text(bcc._HERE / "bpf" / f"{probe}.bpf.c")
        assert text.startswith("#define BY_BCC 1\n")
        assert '#include "' not in text


def test_every_finding_is_told_in_a_line_and_in_a_table() -> None:
    one = connect(HERE, heard(took=3 * MILLISECOND), "10.244.1.2:8080", NAMES)
    assert line(one) == (
        "Node n1 → 10.96.0.10:80 (Service ns/web:http) → 10.244.1.2:8080: "
        "connected, 3 ms by curl (7)"
    )
    closed = connection(HERE, ended(heard(), 1), "10.244.1.2:8080", NAMES)
    assert line(closed) == (
        "Node n1, client of 10.96.0.10:80 (Service ns/web:http) → 10.244.1.2:8080: "
        "trip 1 ms, open 1 ms; sent 100B, received 200B, 1 again"
    )
    again = Retransmit("n1", "Pod ns/a", "10.9.9.9", "SYN-ACK", "ns/web:http")
    assert line(again) == "Pod ns/a on n1 → 10.9.9.9: SYN-ACK again (Service ns/web:http)"
    dropped = DropRow("n1", "Node n1", "f", "R", "UDP", "10.0.0.1:53", 2, 90, owner="Pod ns/d")
    assert line(dropped) == "Node n1: R at f, for UDP 10.0.0.1:53 (Pod ns/d): 2 packets, 90 bytes"
    assert tables("drops", [], {}, 9) == "the kernel dropped nothing"
    total = ConnectionSum()
    total.add([closed])
    shown = tables("sockets", total.rows(), total.by_service(), 9)
    assert "ns/web:http: 1 round trips of clients, in milliseconds" in shown
    table = tables("drops", [dropped, dropped], {}, 1)
    assert table.endswith("and 1 more rows: --lines shows more of them")


@pytest.mark.parametrize("probe", ["connects", "sockets", "retransmits", "drops"])
def test_a_lab_that_is_not_there_is_an_error_of_one_line(probe: str) -> None:
    ended = CliRunner().invoke(load("probe"), [probe, "--name", "nolab"])
    assert isinstance(ended.exception, SystemExit), "a traceback reached the user"
    assert ended.output == "Error: no lab nolab; start it with: podwire lab up --name nolab\n"


class FakeMeans:
    """Means that tell of one connect at once, and have lost three."""

    title = "nothing"

    def __init__(self) -> None:
        self.closed = False
        end = bytes([10, 96, 0, 10]).ljust(16, b"\0")
        head = struct.pack("=QQIIiHHHBB", 1, 2_000_000, 1, 7, 0, 4000, 80, socket.AF_INET, 1, 0)
        self.told = [head + end + end + b"curl".ljust(16, b"\0") + bytes(4)]

    def events(self, _: float) -> list[bytes]:
        told, self.told = self.told, []
        return told

    def entries(self, *_: object) -> list[tuple[bytes, bytes]]:
        return []

    def lost(self) -> int:
        return 3

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def run_with(monkeypatch: pytest.MonkeyPatch):
    """Run ``podwire probe connects`` with fake means; returns what it printed, and they."""

    def run(*options: str) -> tuple[str, FakeMeans]:
        fake = FakeMeans()
        monkeypatch.setattr(naming, "by_inode", lambda _: [(1, HERE)])
        monkeypatch.setattr(commands, "_look", lambda _: (Ground((HERE,)), STATE))
        monkeypatch.setattr(commands, "opened", lambda *_: (fake, ["not by bcc: why"]))
        ended = CliRunner().invoke(load("probe"), ["connects", "--here", "--for", "0.1", *options])
        assert ended.exit_code == 0, ended.output
        assert ended.stderr.splitlines() == [
            "not by bcc: why",
            "listening on 1 node and 0 Pods for 0.1 s (Ctrl-C ends it sooner), by nothing",
            "3 were not counted: they came faster than there was room for",
        ]
        return ended.stdout, fake

    return run


def test_a_report_has_all_that_was_found_and_what_was_lost(run_with) -> None:
    printed, fake = run_with("-o", "json")
    report = json.loads(printed)
    assert (report["probe"], report["by"], report["not_by"]) == (
        *("connects", "nothing"),
        ["not by bcc: why"],
    )
    (row,) = report["rows"]
    assert (report["lost"], row["service"], row["latency"]["most_ms"]) == (3, "ns/web:http", 2.0)
    assert fake.closed


def test_a_table_has_a_histogram_of_each_service(run_with) -> None:
    printed, _ = run_with()
    assert "10.96.0.10:80 (Service ns/web:http)" in printed
    assert "ns/web:http: 1 answered, in milliseconds\n" in printed


@pytest.mark.parametrize(
    ("option", "value", "count"),
    [
        ("--service", "ns/web", 1),
        ("--service", "ns/ports", 0),
    ],
)
def test_findings_are_filtered(run_with, option: str, value: str, count: int) -> None:
    assert len(run_with("-f", option, value)[0].splitlines()) == count


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--service", "web", "there is no Service default/web"),
        ("--service", "ns/we", "there is no Service ns/we"),
        ("--pod", "ns/nobody", "there is no Pod ns/nobody"),
    ],
)
def test_what_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, option: str, value: str, told: str
) -> None:
    monkeypatch.setattr(naming, "by_inode", lambda _: [(1, HERE)])
    monkeypatch.setattr(commands, "_look", lambda _: (Ground((HERE,)), STATE))
    ended = CliRunner().invoke(load("probe"), ["connects", "--here", option, value])
    assert ended.exit_code == 1 and told in ended.stderr


@pytest.mark.parametrize(("pod", "admitted"), [("ns/a", True), ("ns/b", True), ("ns/c", False)])
def test_a_pod_is_looked_for_at_either_end(pod: str, admitted: bool) -> None:
    one = Retransmit("n1", "Pod ns/a", "10.244.1.3:80", "SYN", owner="Pod ns/b")
    assert Wanted(pod=pod).admits(one) is admitted


def test_one_of_several_services_of_an_endpoint_is_enough() -> None:
    one = connect(HERE, heard("10.244.1.2", 8080), "", NAMES)
    assert Wanted("ns/ports").admits(one)
    assert not Wanted("ns/empty").admits(one)


def test_events_are_followed_a_line_each(run_with) -> None:
    (told,) = run_with("-f", "-o", "json")[0].splitlines()
    assert json.loads(told)["outcome"] == "connected"
    (told,) = run_with("-f")[0].splitlines()
    assert told.endswith(": connected, 2 ms by curl (7)")
