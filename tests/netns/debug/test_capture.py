"""Captures of real packets: in a Pod, and on all links that they pass over a tunnel."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
from scapy.layers.inet import IP, UDP
from scapy.utils import PcapNgReader

from debug.capture import commands, listen
from debug.capture.listen import Listener, Wanted
from debug.cluster import ClusterState
from debug.places import Ground, Place, entered
from debug.trace.model import Ends
from debug.trace.watch.taps import Tap, Tapped
from proxy.policy.wire import Pod
from tests.support.space import Space

CLIENT, SERVER, PORT = "10.1.1.2", "10.1.2.2", 7000
TUNNEL = "link add tunnel type vxlan id 7 remote {} local {} dev eth0 dstport 4789"
OPTIONS: dict[str, Any] = {
    **{"name": None, "here": False, "kubeconfig": None, "namespace": "default", "hops": False},
    **{"asked": "", "write": None, "count": None, "seconds": 20.0, "output": "text"},
}


def pod(name: str, node: str, ip: str) -> Pod:
    return Pod.read(
        {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": "Running", "podIPs": [{"ip": ip}]},
        }
    )


def place(space: Space, node: str, pod: str = "") -> Place:
    return Place(node, os.getpid(), str(space.path), ("default", pod) if pod else None)


@pytest.fixture(scope="module")
def ground(spaces: Callable[[str], Space]) -> Ground:
    """A Pod on each of two nodes, with a tunnel between these."""
    made = client, one, two, server = [spaces(name) for name in ("client", "n1", "n2", "server")]
    one.veth("pod", client, "eth0")
    two.veth("pod", server, "eth0")
    one.veth("eth0", two, "eth0")
    for number, (node, pod) in enumerate(((one, client), (two, server)), 1):
        other = 3 - number
        ends = f"192.168.0.{other}", f"192.168.0.{number}"
        node.ip_batch(
            f"addr add 192.168.0.{number}/24 dev eth0",
            f"addr add 10.1.{number}.1/24 dev pod",
            TUNNEL.format(*ends),
            f"addr add 10.1.{number}.0/32 dev tunnel",
            "link set tunnel up",
            f"route add 10.1.{other}.0/24 via 10.1.{other}.0 dev tunnel onlink",
        )
        node.sysctls({"net.ipv4.ip_forward": 1})
        pod.ip_batch(
            f"addr add 10.1.{number}.2/24 dev eth0", f"route add default via 10.1.{number}.1"
        )
    names = (("node1", "client"), ("node1", ""), ("node2", ""), ("node2", "server"))
    return Ground(tuple(place(space, *name) for space, name in zip(made, names, strict=True)))


def udp(place: Place, address: str = "", port: int = 0) -> socket.socket:
    with entered(place):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(5)
    made.bind((address, port))
    return made


@contextmanager
def talking(ground: Ground) -> Iterator[None]:
    """Have the client ask the server, and a node another node, again and again."""
    done = threading.Event()
    with (
        udp(ground.pod(("default", "server")), SERVER, PORT) as server,
        udp(ground.pod(("default", "client"))) as client,
        udp(ground.node("node1")) as beside,
    ):

        def talk() -> None:
            while not done.wait(0.005):
                beside.sendto(b"of nodes", ("192.168.0.2", 9))
                client.sendto(b"question", (SERVER, PORT))
                server.sendto(b"answer", server.recvfrom(100)[1])
                client.recv(100)

        thread = threading.Thread(target=talk)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


@pytest.fixture
def capture(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., bytes]:
    """The command, on this ground, while the Pods talk: it returns what was printed."""
    monkeypatch.setattr(commands, "ground", lambda *_: ground)
    pods = (pod("client", "node1", CLIENT), pod("server", "node2", SERVER))
    monkeypatch.setattr(commands, "needed_objects", lambda _: ClusterState(pods=pods))

    def run(**options: Any) -> bytes:
        with talking(ground):
            commands.capture("client", **OPTIONS | options)
        return capfdbinary.readouterr().out

    return run


THERE = [
    *(("Pod default/client", "out", "eth0"), ("Node node1", "in", "pod")),
    *(("Node node1", "out", "tunnel"), ("Node node1", "out", "eth0")),
    *(("Node node2", "in", "eth0"), ("Node node2", "in", "tunnel"), ("Node node2", "out", "pod")),
    ("Pod default/server", "in", "eth0"),
]


def test_a_pod_s_packets_are_shown(capture: Callable[..., bytes]) -> None:
    question, answer = capture(count=2).decode().splitlines()
    assert f"Pod default/client out eth0  udp {CLIENT}:" in question
    assert question.endswith(f"→ {SERVER}:{PORT} (Pod default/server), 36 bytes")
    assert "Pod default/client in eth0  udp" in answer
    assert f"{SERVER}:{PORT} (Pod default/server) → {CLIENT}:" in answer


def test_each_hop_is_shown_and_nothing_else(capture: Callable[..., bytes]) -> None:
    asked = f"host {SERVER} and port {PORT} and udp"
    printed = capture(hops=True, asked=asked, count=40, output="json").decode().splitlines()
    found = [json.loads(one) for one in printed]
    assert {one["ends"]["source"] for one in found} == {CLIENT, SERVER}
    way = [(one["place"], one["direction"], one["link"]) for one in found]
    first = next(at for at, one in enumerate(found) if one["ends"]["source"] == CLIENT)
    assert way[first : first + 8] == THERE
    assert {one["link"] for one in found if "tunnel" in one} == {"eth0"}


def test_a_filter_without_a_host_is_of_the_pod(capture: Callable[..., bytes]) -> None:
    assert capture(asked=f"port {PORT} and tcp", seconds=0.2) == b""
    assert len(capture(asked=f"port {PORT} and udp", count=3).splitlines()) == 3


def test_a_file_has_an_interface_for_each_link(
    capture: Callable[..., bytes], tmp_path: Path
) -> None:
    path = tmp_path / "way.pcapng"
    assert capture(hops=True, asked=f"host {SERVER}", count=40, write=str(path)) == b""
    assert path.stat().st_mode & 0o777 == 0o600
    with PcapNgReader(str(path)) as reader:
        packets = list(reader)
    assert len(packets) == 40
    names = {one.sniffed_on for one in packets}
    assert {f"{place} {link}" for place, _, link in THERE} == names


def test_a_file_that_was_there_is_no_more_read_by_others(
    capture: Callable[..., bytes], tmp_path: Path
) -> None:
    path = tmp_path / "old.pcapng"
    path.write_bytes(bytes(100_000))
    path.chmod(0o644)
    capture(count=1, write=str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size < 1000


def test_standard_output_takes_the_file(capture: Callable[..., bytes], tmp_path: Path) -> None:
    path = tmp_path / "piped.pcapng"
    path.write_bytes(capture(count=2, write="-"))
    with PcapNgReader(str(path)) as reader:
        assert len(list(reader)) == 2


def test_a_full_disk_is_named(capture: Callable[..., bytes]) -> None:
    with pytest.raises(click.ClickException, match="No space left on device"):
        capture(write="/dev/full", count=1)


def test_a_node_is_no_pod(ground: Ground, capture: Callable[..., bytes]) -> None:
    with pytest.raises(click.ClickException, match="node1 is no Pod with a network of its own"):
        commands.capture("node1", **OPTIONS)


def test_what_is_not_read_in_time_is_counted(ground: Ground) -> None:
    listener = Listener([ground.node("node1")], Wanted(()))
    with closing(listener), udp(ground.node("node1")) as sender:
        for _ in range(5000):
            sender.sendto(bytes(1400), ("192.168.0.2", 9))
        assert listener.lost > 0


@pytest.fixture
def told(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """Two taps that read what is told, (link, seconds since now, late), and which are captured."""
    data = bytes(IP(src=CLIENT, dst=SERVER) / UDP())
    reads: list[list[Tapped]] = []

    class Told(Tap):
        def read(self) -> list[Tapped]:
            return reads.pop(0)

    monkeypatch.setattr(listen, "Tap", Told)
    with closing(Listener([ground.node("node1"), ground.node("node2")], Wanted(()))) as listener:
        now = time.time_ns()

        def captured(*taps: list[tuple[str, int, bool]]) -> list[str]:
            reads.extend(
                [Tapped(now + after * 10**9, link, True, data, late) for link, after, late in one]
                for one in taps
            )
            return [one.tapped.link for one in listener.read(0)]

        yield captured


def test_a_packet_waits_for_those_before_it_on_links_that_were_read_already(
    told: Callable[..., list[str]],
) -> None:
    assert told([], [("second", 10**6, False)]) == []
    assert told([("first", 0, False)], []) == ["first", "second"]


def test_packets_without_a_time_of_their_own_are_passed_over_at_the_start(
    told: Callable[..., list[str]],
) -> None:
    assert told([("unstamped", 10, True)], [("of the same packet", 5, False)]) == []
    assert told([], []) == []
    assert told([("whole", 20, False)], [("at once", 21, True)]) == []
    assert told([], []) == ["whole", "at once"]


def test_a_time_is_rounded_to_one_that_a_clock_shows() -> None:
    ends = Ends("udp", CLIENT, SERVER)
    one = commands.Captured(1e9 + 0.9999996, "node1", "Node node1", "eth0", "in", ends, 28)
    clock = time.strftime("%H:%M:%S", time.localtime(1e9 + 1))
    assert commands.line(one).startswith(f"{clock}.000000  Node node1 in eth0")
