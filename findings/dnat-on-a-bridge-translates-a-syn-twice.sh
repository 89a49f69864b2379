#!/usr/bin/env bash
# A SYN that is sent again is translated again while a bridge waits for its neighbor's answer.
#
# One would guess: a chain of type nat sees one packet of a connection; the kernel remembers the connection
#   from its first SYN on, and a SYN that is sent again belongs to it.
# What happens: if the translated packet goes back over the bridge that it came from (a Pod calls a Service
#   whose endpoint is on its own node, with bridge-nf-call-iptables), br_netfilter asks for the endpoint's MAC
#   address before postrouting, and only there the kernel confirms a connection. While the answer is late,
#   each SYN begins a connection: it passes the nat chain, and may get another endpoint. Over a routed link
#   the packet is confirmed before it waits.
# So: a counter of connections in a nat chain may count a connection twice; a test of it must know how many
#   SYNs were sent again.
# Seen with: Linux 6.18 with br_netfilter, nftables 1.0.6-2+deb12u2, November 2026.
source "$(dirname "$0")/common.bash"

debian nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2
modprobe --quiet br_netfilter || true
[[ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]] || cannot "this kernel has no br_netfilter"

seen <<'SCRIPT'
sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
ip link add br0 type bridge
ip address add 10.0.0.1/24 dev br0
ip link set br0 up

member() {  # a namespace NAME with an address on the bridge
  ip netns add "$1"
  ip link add "v$1" type veth peer name eth0 netns "$1"
  ip link set "v$1" master br0 up
  ip -n "$1" address add "$2/24" dev eth0
  ip -n "$1" link set eth0 up
  ip -n "$1" route add default via 10.0.0.1
}
member client 10.0.0.2
member near 10.0.0.3
ip netns add far
ip link add vfar type veth peer name eth0 netns far
ip address add 10.0.1.1/24 dev vfar
ip link set vfar up
ip -n far address add 10.0.1.3/24 dev eth0
ip -n far link set eth0 up
ip -n far route add default via 10.0.1.1
ip netns exec client ping -q -c1 10.0.0.1 >/dev/null

again() {  # SYNs that the client sent again
  ip netns exec client cat /proc/net/netstat \
    | awk '/^TcpExt/ {if (n) {print $n} else for (i = 1; i <= NF; i++) if ($i == "TCPSynRetrans") n = i}'
}

call() {  # the service 10.9.0.1, whose endpoint is ADDRESS in NAMESPACE behind LINK
  nft "flush ruleset
    table ip service {
      counter connections {}
      chain in {
        type nat hook prerouting priority dstnat;
        ip daddr 10.9.0.1 counter name connections dnat to $1
      }
    }
    table netdev deaf {
      chain in { type filter hook ingress device $3 priority 0; arp operation reply drop; }
    }"
  ip neighbor flush dev "$4"
  ip netns exec "$2" python3 -c 'import socket; socket.create_server(("", 80)).accept()[0].recv(1)' &
  sleep 0.5
  local before
  before=$(again)
  ip netns exec client python3 -c 'import socket; socket.create_connection(("10.9.0.1", 80), 20)' &
  until (($(again) > before)); do sleep 0.02; done
  nft delete table netdev deaf
  wait
  packets=$(nft list counter ip service connections | awk '/packets/ {print $2}')
  syns=$(($(again) - before))
}

tell() {
  local seen="$packets of $((1 + syns))"
  ((packets > 1)) || seen="the first of several"
  ((packets <= syns)) || seen="each of several"
  echo "endpoint $1: the nat chain sees $seen SYNs"
}

call 10.0.1.3 far vfar vfar
tell "behind a routed link"
call 10.0.0.3 near vnear br0
tell "on the client's bridge"
SCRIPT

expect <<'TEXT'
endpoint behind a routed link: the nat chain sees the first of several SYNs
endpoint on the client's bridge: the nat chain sees each of several SYNs
TEXT
