#!/usr/bin/env bash
# "ip link set down" deletes permanent neighbors, routes too; a lost carrier leaves them.
#
# One would guess: a permanent neighbor stays until somebody deletes it, as ip-neighbour(8) says: it "can be only be
#   removed administratively".
# What happens: when a link is set down the kernel deletes all its neighbors, permanent ones as well; when it is up
#   again they are missing. A carrier that goes away, the other end of a veth for example, takes only what was
#   learned.
# So: a tunnel whose neighbors and routes a program entered (flannel's way) loses them by "down" and "up". Enter them
#   again whenever the link comes up.
# Seen with: Linux 6.18, iproute2 6.1.0, November 2026.
source "$(dirname "$0")/common.bash"

seen <<'SCRIPT'
ip link add near0 type veth peer name far0
ip address add 192.0.2.1/24 dev near0
enter() {
  ip link set far0 up
  ip link set near0 up
  ip neighbor replace 192.0.2.2 lladdr 02:00:00:00:00:02 dev near0 nud permanent
  ip neighbor replace 192.0.2.3 lladdr 02:00:00:00:00:03 dev near0 nud reachable
}
show() {
  local found
  found=$(ip -4 neighbor show dev near0 | sed -n 's/^192.0.2.2 .*/a permanent one/p; s/^192.0.2.3 .*/a learned one/p')
  echo "$1: $(sort <<< "$found" | paste -sd,)"
}
enter
show "entered"
ip link set far0 down
while ip neighbor show dev near0 | grep -q 192.0.2.3; do sleep 0.05; done
show "carrier lost"
enter
ip link set near0 down
ip link set near0 up
show "down and up"
SCRIPT
expect <<'TEXT'
entered: a learned one,a permanent one
carrier lost: a permanent one
down and up: 
TEXT
