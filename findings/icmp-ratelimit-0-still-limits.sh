#!/usr/bin/env bash
# With net.ipv4.icmp_ratelimit = 0 a Linux node still answers only 50 rejected packets at once.
#
# One would guess: 0 disables the limit, as the kernel's documentation of icmp_ratelimit says.
# What happens: it disables the limit for each destination. The limit of all together stays, 1000 a second and
#   50 at once (icmp_msgs_per_sec, icmp_msgs_burst), for the types that icmp_ratemask names: "unreachable" is
#   one of them. IPv6 shares the limit, with a mask of its own.
# So: callers of a Service that refuses by ICMP (UDP, or REJECT without tcp-reset) are refused or wait for their
#   timeout, by chance, when many call at once. Where each must be refused, set icmp_ratemask = 0.
# Seen with: Linux 6.18, November 2026.
source "$(dirname "$0")/common.bash"

seen <<'SCRIPT'
ip netns add far
ip link add near0 type veth peer name far0 netns far
ip address add 192.0.2.1/24 dev near0
ip link set near0 up
ip -n far address add 192.0.2.2/24 dev far0
ip -n far link set far0 up
ping -q -c1 192.0.2.2 >/dev/null

ask() {  # SYSCTL: 300 questions to a closed UDP port of the other side, at once
  ip netns exec far sysctl -qw "net.ipv4.$1"
  sleep 1  # the allowance of this second is whole again
  python3 - "$1" <<'PYTHON'
import socket, sys, time
asked = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(300)]
for one in asked:
    one.connect(("192.0.2.2", 9))
for one in asked:
    one.send(b"?")
time.sleep(1)
refused = sum(one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0 for one in asked)
print(f"{sys.argv[1]}: {'all' if refused == 300 else 'less than half'} of 300 are refused"
      if refused == 300 or refused < 150 else f"{sys.argv[1]}: {refused} of 300 are refused")
PYTHON
}
ask icmp_ratelimit=0
ask icmp_ratemask=0
SCRIPT
expect <<'TEXT'
icmp_ratelimit=0: less than half of 300 are refused
icmp_ratemask=0: all of 300 are refused
TEXT
