#!/usr/bin/env bash
# A bridge follows the smallest MTU of its ports until its MTU was set once; setting the same value does not count.
#
# One would guess: "ip link set br0 mtu 1500" fixes the MTU, whatever it was before; or it never follows.
# What happens: the kernel remembers that somebody set the MTU only when the value changes. A bridge begins with
#   1500, so "mtu 1500" does nothing, and the first port with 1400 makes it 1400. After any change, to
#   1501 and back for example, it follows no more: frames that are too long for a port are dropped there. Made with
#   "ip link add br0 mtu 1500 type bridge" it follows as well.
# So: a tool that wants 1500 must set it after each new port, or set another value first. A bridge that somebody
#   raised to 9000 and back has no automatic MTU any more.
# Seen with: iproute2 6.1.0, Linux 6.18, November 2026.
source "$(dirname "$0")/common.bash"

seen <<'SCRIPT'
ports=0
port() {  # with MTU $1 for bridge br0
  ports=$((ports + 1))
  ip link add "port$ports" mtu "$1" type veth peer name "far$ports"
  ip link set "port$ports" master br0
}
try() {  # NAME VALUE...: a bridge whose MTU is set to each VALUE, then gets a port
  ip link add br0 type bridge
  for value in "${@:2}"; do ip link set br0 mtu "$value"; done
  port 1400
  echo "$1, a port with 1400: $(ip -o link show br0 | grep -o 'mtu [0-9]*')"
  ip link delete br0
}
try "never set"
try "set to 1500" 1500
try "set to 1501, then 1500" 1501 1500
ip link add br0 mtu 1500 type bridge
port 1400
echo "made with 1500, a port with 1400: $(ip -o link show br0 | grep -o 'mtu [0-9]*')"
SCRIPT
expect <<'TEXT'
never set, a port with 1400: mtu 1400
set to 1500, a port with 1400: mtu 1400
set to 1501, then 1500, a port with 1400: mtu 1500
made with 1500, a port with 1400: mtu 1400
TEXT
