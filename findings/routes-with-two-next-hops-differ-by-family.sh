#!/usr/bin/env bash
# "ip route delete ... via ONE" deletes all next hops of an IPv4 route, and one of an IPv6 route.
#
# One would guess: append, replace and delete do the same in both families.
# What happens: "append" makes of an IPv6 route one with two next hops, which share the packets; in IPv4 it adds a
#   second route behind the first, which no packet takes. "replace" replaces both in IPv6; in IPv4 the first, and
#   the second stays and takes over when the first goes. "delete" with one gateway takes that one next hop in IPv6;
#   in IPv4 it matches the route, and all of it goes, with exit code 0.
# So: to take one next hop away from an IPv4 route, replace the route by one with the others.
# Seen with: iproute2 6.1.0, Linux 6.18, November 2026.
source "$(dirname "$0")/common.bash"

seen <<'SCRIPT'
ip link add near0 type veth peer name far0
ip link set far0 up
ip link set near0 up
ip address add 192.0.2.1/24 dev near0
ip address add 2001:db8::1/64 dev near0 nodad
IPv4() { ip route "$1" 10.0.0.0/8 "${@:2}"; }
IPv6() { ip -6 route "$1" 2001:db8:1::/48 "${@:2}"; }
show() {
  echo "$1:"
  for family in IPv4 IPv6; do
    echo "  $family: $($family show | grep -o 'via [^ ]*' | xargs)," \
      "$($family show | grep -c -e ^10 -e ^2001 || true) route(s)"
  done
}
IPv4 add via 192.0.2.2
IPv6 add via 2001:db8::2
IPv4 append via 192.0.2.3
IPv6 append via 2001:db8::3
show "append"
IPv4 replace via 192.0.2.4
IPv6 replace via 2001:db8::4
show "replace"
IPv4 flush
IPv6 flush
IPv4 add nexthop via 192.0.2.2 nexthop via 192.0.2.3
IPv6 add nexthop via 2001:db8::2 nexthop via 2001:db8::3
show "two next hops"
IPv4 delete via 192.0.2.2 && echo "delete one next hop of IPv4: exit code 0"
IPv6 delete via 2001:db8::2 && echo "delete one next hop of IPv6: exit code 0"
show "afterwards"
SCRIPT
expect <<'TEXT'
append:
  IPv4: via 192.0.2.2 via 192.0.2.3, 2 route(s)
  IPv6: via 2001:db8::2 via 2001:db8::3, 1 route(s)
replace:
  IPv4: via 192.0.2.4 via 192.0.2.3, 2 route(s)
  IPv6: via 2001:db8::4, 1 route(s)
two next hops:
  IPv4: via 192.0.2.2 via 192.0.2.3, 1 route(s)
  IPv6: via 2001:db8::2 via 2001:db8::3, 1 route(s)
delete one next hop of IPv4: exit code 0
delete one next hop of IPv6: exit code 0
afterwards:
  IPv4: , 0 route(s)
  IPv6: via 2001:db8::3, 1 route(s)
TEXT
