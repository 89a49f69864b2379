#!/usr/bin/env bash
# A port with a lower MAC address than all others deletes a bridge's permanent neighbors.
#
# One would guess: a permanent neighbor stays until somebody deletes it, and plugging in a new container changes nothing
#   for the others.
# What happens: a bridge whose address was never set takes the lowest one of its ports. When that changes, the kernel
#   deletes all neighbors of the bridge, permanent ones too, and announces nothing but their end. With random addresses
#   of containers this happens now and then, and rarely once there are many.
# So: set the bridge's own address when you make it, also to the value that it has.
# Seen with: Linux 6.18, iproute2 6.1.0, November 2026.
source "$(dirname "$0")/common.bash"
debian iproute2=6.1.0-3 libbpf1

seen <<'SCRIPT'
plug() { # NAME ADDRESS
  ip link add "$1" address "$2" type veth peer name "peer-$1"
  ip link set "$1" master bridge up
}
tell() {
  echo "$1: address $(ip -json link show bridge | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["address"])')," \
    "neighbors: $(ip neighbor show dev bridge nud permanent | grep -c '^10[.]')"
}
begin() {
  ip link add bridge type bridge
  ip link set bridge up
  ip address add 10.1.0.1/24 dev bridge
  plug first 02:00:00:00:00:50
}
settle() {
  for number in 7 8 9; do ip neighbor replace 10.1.0.$number lladdr 02:00:00:00:01:0$number dev bridge nud permanent; done
}
begin
settle
tell "a port"
plug higher 02:00:00:00:00:60
tell "a higher one"
plug lower 02:00:00:00:00:40
tell "a lower one"
ip link set bridge address 02:00:00:00:00:40
settle
plug lowest 02:00:00:00:00:30
tell "the lowest, after the address was set"
SCRIPT
expect <<'TEXT'
a port: address 02:00:00:00:00:50, neighbors: 3
a higher one: address 02:00:00:00:00:50, neighbors: 3
a lower one: address 02:00:00:00:00:40, neighbors: 0
the lowest, after the address was set: address 02:00:00:00:00:40, neighbors: 3
TEXT
