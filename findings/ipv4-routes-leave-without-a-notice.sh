#!/usr/bin/env bash
# When a link goes down the kernel deletes its IPv4 routes and tells nobody; its IPv6 routes it announces.
#
# One would guess: whoever listens to routes on netlink (RTNLGRP_IPV4_ROUTE, "ip monitor route") hears of each
#   route that goes.
# What happens: routes that go with their link, down or deleted, have a notice in IPv6 and none in IPv4. When a
#   link loses its last IPv4 address, the route of its own network has a notice; a route through a gateway, which
#   goes as well, has none.
# So: a cache of routes that lives on notices keeps routes that are no more. Listen to links too, and list the
#   IPv4 routes again when one changes.
# Seen with: Linux 6.18, iproute2 6.1.0, November 2026.
source "$(dirname "$0")/common.bash"

seen <<'SCRIPT'
ip link add near0 type veth peer name far0
ip link set far0 up
prepare() {
  ip link set near0 up
  ip address add 192.0.2.1/24 dev near0
  ip -6 address add 2001:db8::1/64 dev near0 nodad
  ip route add 198.51.100.0/24 via 192.0.2.2
  ip -6 route add 2001:db8:1::/48 via 2001:db8::2
}
count=0
listen() {  # to what COMMAND takes away of the routes via a gateway
  prepare
  ip monitor route > notices &
  local monitor=$!
  until grep -q 203.0.113.9 notices; do  # until it listens
    ip route add blackhole 203.0.113.9
    ip route delete blackhole 203.0.113.9
  done
  echo "== $*"
  "$@"
  count=$((count + 1))
  ip route add blackhole "203.0.113.1$count"  # the last notice
  until grep -q "203.0.113.1$count" notices; do sleep 0.05; done
  kill $monitor
  grep -a -o -e 'Deleted [0-9.]*/24 .*near0' -e 'Deleted 2001.* dev near0' notices || echo "no notice"
  echo "left: $(ip route | grep -c via || true) in IPv4, $(ip -6 route | grep -c via || true) in IPv6"
}
listen ip link set near0 down
ip address flush dev near0
listen ip address flush dev near0
ip link set near0 down
listen ip link delete near0
SCRIPT
expect <<'TEXT'
== ip link set near0 down
Deleted 2001:db8::/64 dev near0
Deleted 2001:db8:1::/48 via 2001:db8::2 dev near0
left: 0 in IPv4, 0 in IPv6
== ip address flush dev near0
Deleted 192.0.2.0/24 dev near0
Deleted 2001:db8::/64 dev near0
left: 0 in IPv4, 1 in IPv6
== ip link delete near0
Deleted 2001:db8::/64 dev near0
Deleted 2001:db8:1::/48 via 2001:db8::2 dev near0
left: 0 in IPv4, 0 in IPv6
TEXT
