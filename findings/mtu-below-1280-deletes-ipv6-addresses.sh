#!/usr/bin/env bash
# An MTU below 1280, even for a moment, deletes the IPv6 addresses and routes of a link for good.
#
# One would guess: IPv6 needs 1280 bytes, so the kernel refuses a smaller MTU, or IPv6 rests until it is larger.
# What happens: the MTU is set without an error. The kernel deletes the link's IPv6 addresses and routes and its
#   folder of sysctls; IPv4 stays. With the old MTU again the link has a new link-local address, and the
#   sysctls of "default" in place of its own.
# So: a tool that lowers and raises an MTU (path MTU experiments, tunnels in tunnels: 1330 - 50 - 50 is no room
#   for a third) must put addresses, routes and sysctls back.
# Seen with: Linux 6.18, November 2026.
source "$(dirname "$0")/common.bash"

seen <<'SCRIPT'
ip link add near0 type veth peer name far0
ip link set far0 up
ip link set near0 up
ip address add 192.0.2.1/24 dev near0
ip address add 2001:db8::1/64 dev near0 nodad
ip -6 route add 2001:db8:1::/48 via 2001:db8::2
sysctl -qw net.ipv6.conf.near0.accept_ra=0
look() {
  echo "MTU $(ip -o link show dev near0 | grep -oP 'mtu \K\d+'): $(ip -o address show dev near0 scope global | awk '{print $4}' | xargs)"
  echo "  IPv6 routes: $(ip -6 route show dev near0 | grep -vc ^fe80 || true)," \
    "accept_ra: $(cat /proc/sys/net/ipv6/conf/near0/accept_ra 2> /dev/null || echo none)"
}
look
for mtu in 1280 1279 1500; do
  ip link set near0 mtu $mtu && echo "set to $mtu: exit code 0"
  look
done
SCRIPT
expect <<'TEXT'
MTU 1500: 192.0.2.1/24 2001:db8::1/64
  IPv6 routes: 2, accept_ra: 0
set to 1280: exit code 0
MTU 1280: 192.0.2.1/24 2001:db8::1/64
  IPv6 routes: 2, accept_ra: 0
set to 1279: exit code 0
MTU 1279: 192.0.2.1/24
  IPv6 routes: 0, accept_ra: none
set to 1500: exit code 0
MTU 1500: 192.0.2.1/24
  IPv6 routes: 0, accept_ra: 1
TEXT
