"""The packet file, read by scapy."""

from pathlib import Path

from scapy.layers.inet import IP
from scapy.utils import rdpcap

from debug.trace.packet import Flow
from debug.trace.pcapng import Frame, encode
from debug.trace.probe import Probe
from debug.trace.send import build


def test_each_packet_has_its_link_its_time_and_its_comment(tmp_path: Path) -> None:
    data = build(Probe(Flow("udp", "10.0.0.1", "10.0.0.2", 4000, 80), 0x20000000, size=61))
    second = 1_700_000_000_000_000_000
    frames = [
        Frame(second + 2_000_001, "Node n1 eth0", data, "rule 'ä'\nout eth0"),
        Frame(second + 1_000_000, "Pod default/web eth0", data),
    ]
    path = tmp_path / "trace.pcapng"
    path.write_bytes(encode(frames))
    first, last = rdpcap(str(path))
    assert (first.sniffed_on, last.sniffed_on) == ("Pod default/web eth0", "Node n1 eth0")
    assert last.comments == ["rule 'ä'\nout eth0".encode()]
    assert round((last.time - first.time) * 10**9) == 1_000_001
    assert bytes(last[IP]) == data
