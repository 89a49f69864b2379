#!/usr/bin/env bash
# A veth whose peer has the smaller MTU 1400 takes packets of 1404 bytes, and drops 1405 without a message.
#
# One would guess: a packet that is larger than the MTU of the receiving end is dropped, from 1401 on; or there is an
#   ICMP error, as from a router.
# What happens: the receiving end allows the 4 bytes of a VLAN tag on top of its MTU, tag or no tag. What is larger
#   it drops and counts as "dropped"; the sender hears nothing.
# So: a search for the largest packet that passes gives 4 more than "ip link" shows. Both ends of a veth need the
#   same MTU.
# Seen with: Linux 6.18, iputils-ping 3:20221126-1+deb12u1, November 2026.
source "$(dirname "$0")/common.bash"

seen <<'SCRIPT'
ip netns add far
ip link add near0 type veth peer name far0 netns far
ip address add 192.0.2.1/24 dev near0
ip link set near0 up
ip -n far address add 192.0.2.2/24 dev far0
ip -n far link set far0 up
sysctl -qw net.ipv6.conf.near0.disable_ipv6=1
ping -q -c1 192.0.2.2 > /dev/null
ip -n far link set far0 mtu 1400
dropped() {
  ip -n far -j -s link show far0 \
    | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["stats64"]["rx"]["dropped"])'
}
for size in 1400 1401 1404 1405; do
  before=$(dropped)
  passed=$(ping -q -M do -c1 -W2 -s $((size - 28)) 192.0.2.2 | grep -o '[01] received' || true)
  [[ $(dropped) == "$before" ]] || passed="$passed, counted as dropped"
  echo "$size bytes: $passed"
done
SCRIPT
expect <<'TEXT'
1400 bytes: 1 received
1401 bytes: 1 received
1404 bytes: 1 received
1405 bytes: 0 received, counted as dropped
TEXT
