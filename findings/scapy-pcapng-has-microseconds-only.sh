#!/usr/bin/env bash
# scapy's wrpcapng() writes microseconds, whatever the packets have, and cuts where wrpcap() rounds.
#
# One would guess: pcapng is the newer format, whose interfaces say their own resolution, so the nanoseconds that
#   the kernel gave a packet are kept, as by wrpcap(..., nano=True); and without them both formats have one time.
# What it does: the interface's block has no if_tsresol, so the resolution is the default of pcapng, a microsecond.
#   The rest of the time is cut off; wrpcap() rounds it. Written both ways, one packet has two times. It cannot be
#   asked for: wrpcapng() has no such option. Reading is right: what wrote if_tsresol 9 keeps its nanoseconds, until
#   scapy writes it again.
# So: write wrpcap(..., nano=True) where the order or the distance of packets within a microsecond counts.
# Seen with: scapy 2.8.0, Python 3.11, November 2026.
source "$(dirname "$0")/common.bash"
python scapy==2.8.0

seen <<'SCRIPT'
python - <<'PYTHON'
import logging, struct
logging.disable()
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import EDecimal, rdpcap, wrpcap, wrpcapng

packet = Ether() / IP(src="192.0.2.1", dst="192.0.2.2") / UDP()
packet.time = EDecimal("1700000000.123456789")
wrpcap("nano.pcap", [packet], nano=True)
wrpcap("micro.pcap", [packet])
wrpcapng("scapy.pcapng", [packet])

def block(kind, body):
    body += b"\0" * (-len(body) % 4)
    return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)

stamp = 1700000000_123456789
option = struct.pack("<HHB3x", 9, 1, 9) + bytes(4)  # if_tsresol: 10 to the power of -9
with open("other.pcapng", "wb") as file:
    file.write(block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)))
    file.write(block(1, struct.pack("<HHI", 1, 0, 65535) + option))
    sizes = len(packet), len(packet)
    file.write(block(6, struct.pack("<IIIII", 0, stamp >> 32, stamp & 0xFFFFFFFF, *sizes) + bytes(packet)))
wrpcapng("again.pcapng", rdpcap("other.pcapng"))

for name in ("nano.pcap", "micro.pcap", "scapy.pcapng", "other.pcapng", "again.pcapng"):
    print(f"{name:13}{rdpcap(name)[0].time:.9f}")
PYTHON
SCRIPT

expect <<'TEXT'
nano.pcap    1700000000.123456789
micro.pcap   1700000000.123457000
scapy.pcapng 1700000000.123456000
other.pcapng 1700000000.123456789
again.pcapng 1700000000.123456000
TEXT
