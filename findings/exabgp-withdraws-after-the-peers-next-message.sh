#!/usr/bin/env bash
# A route taken out of exabgp's file is withdrawn after SIGUSR1 only with the router's own next message.
#
# One would guess: the router hears of both as soon as the signal has come: a route more, and a route less.
# What happens: exabgp reads the file at once, and announces an added route at once. That one is gone it tells when
#   the peer's next message has come. A peer with nothing to say sends a KEEPALIVE each third of the hold time: with
#   the usual 180 s a router sends connections to a node for up to a minute after its route went.
# So: give changes as commands, through a program of "process" and "api"; these are sent at once. Or choose
#   a short hold time.
# Seen with: exabgp 5.0.15 (PyPI), BIRD 2.0.12, Python 3.11, Linux 6.18, November 2026.
source "$(dirname "$0")/common.bash"
debian bird2=2.0.12-7
python exabgp==5.0.15

seen <<'SCRIPT'
ip netns add router
ip link add near type veth peer name far netns router
ip address add 192.0.2.1/24 dev near && ip link set near up
ip -n router address add 192.0.2.2/24 dev far && ip -n router link set far up && ip -n router link set lo up
cat > bird.conf <<'CONF'
router id 192.0.2.2;
protocol device { }
include "own.conf";
protocol bgp speaker {
  local 192.0.2.2 as 64512; neighbor 192.0.2.1 as 64513; passive; hold time 120;
  ipv4 { import all; export where source = RTS_STATIC; };
}
CONF
echo 'protocol static own { ipv4; }' > own.conf
nsenter --net=/run/netns/router bird -c bird.conf -s control -P pid
bird() { birdc -s control "$@"; }

speaks() {  # the file of exabgp, with the routes that are named
  echo 'neighbor 192.0.2.2 { router-id 192.0.2.1; local-address 192.0.2.1; local-as 64513; peer-as 64512;'
  echo 'hold-time 120; family { ipv4 unicast; } static {'
  printf 'route %s next-hop 192.0.2.1;\n' "$@"
  echo '} }'
}
heard() { bird show route | grep -o '^198[^ ]*' | sort | paste -sd' '; }
within() {  # the seconds at most, the routes that are wanted
  for _ in $(seq $((10 * $1))); do
    [[ $(heard) == "$2" ]] && echo "the router has ${2:-nothing}" && return
    sleep 0.1
  done
  echo "after $1 s the router still has $(heard)"
}

speaks 198.51.100.1/32 > exabgp.conf
export exabgp_daemon_user=root exabgp_tcp_bind= exabgp_api_cli=false exabgp_log_enable=false
exabgp server exabgp.conf > said 2>&1 &
within 20 198.51.100.1/32
sleep 8  # until the first exchange is over

speaks 198.51.100.1/32 198.51.100.2/32 > exabgp.conf
kill -USR1 %1
echo "a route is added, and exabgp told:"
within 6 '198.51.100.1/32 198.51.100.2/32'

speaks 198.51.100.2/32 > exabgp.conf
kill -USR1 %1
echo "a route is taken out, and exabgp told:"
within 6 198.51.100.2/32
echo 'protocol static own { ipv4; route 203.0.113.0/24 blackhole; }' > own.conf
bird configure > configured
echo "the router sends a message, of a route of its own:"
within 6 198.51.100.2/32
SCRIPT

expect <<'TEXT'
the router has 198.51.100.1/32
a route is added, and exabgp told:
the router has 198.51.100.1/32 198.51.100.2/32
a route is taken out, and exabgp told:
after 6 s the router still has 198.51.100.1/32 198.51.100.2/32
the router sends a message, of a route of its own:
the router has 198.51.100.2/32
TEXT
