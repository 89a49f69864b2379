#!/usr/bin/env bash
# scapy's VXLAN()/Ether() is no frame that a VXLAN link of Linux takes.
#
# One would guess: VXLAN(vni=42)/Ether() is RFC 7348's header, flags 0x08, around an Ethernet frame.
# What it does: scapy binds Ether to VXLAN with the next-protocol bit, so building the packet changes
#   flags to 0x0c and writes a next protocol (VXLAN GPE). Linux drops a frame with bits that its link was
#   not made for; the link counts a receive error, and nothing is logged.
# So: write the flags: VXLAN(vni=42, flags="Instance")/Ether().
# Seen with: scapy 2.8.0, Linux 6.18, November 2026.
source "$(dirname "$0")/common.bash"
python scapy==2.8.0

seen <<'SCRIPT'
ip netns add far
ip link add near0 type veth peer name far0 netns far
ip address add 192.0.2.1/24 dev near0
ip link set near0 up
ip -n far address add 192.0.2.2/24 dev far0
ip -n far link set far0 up
ip netns exec far sysctl -qw net.ipv6.conf.default.disable_ipv6=1
ip -n far link add vxlan42 type vxlan id 42 dstport 4789 local 192.0.2.2
ip -n far link set vxlan42 address 02:00:00:00:00:42 up
python - <<'PYTHON'
import json, logging, socket, subprocess, time
logging.disable()
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN

INNER = (Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:42")
         / IP(src="198.51.100.1", dst="198.51.100.2") / UDP(dport=9) / b"x")

def counters():
    text = subprocess.check_output(["ip", "-n", "far", "-j", "-s", "link", "show", "vxlan42"])
    received = json.loads(text)[0]["stats64"]["rx"]
    return received["packets"], received["errors"]

def send(header):
    before = counters()
    wire = bytes(header / INNER)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(wire, ("192.0.2.2", 4789))
    deadline = time.monotonic() + 10
    while (after := counters()) == before and time.monotonic() < deadline:
        time.sleep(0.01)
    return f"header {wire[:8].hex()}: packets +{after[0] - before[0]}, errors +{after[1] - before[1]}"

print("VXLAN(vni=42):                  ", send(VXLAN(vni=42)))
print('VXLAN(vni=42, flags="Instance"):', send(VXLAN(vni=42, flags="Instance")))
PYTHON
SCRIPT
expect <<'TEXT'
VXLAN(vni=42):                   header 0c00000300002a00: packets +0, errors +1
VXLAN(vni=42, flags="Instance"): header 0800000000002a00: packets +1, errors +0
TEXT
