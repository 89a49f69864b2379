#!/usr/bin/env bash
# One packet of a masqueraded connection that would leave by another interface ends the connection.
#
# One would guess: a route that is missing for a moment delays a TCP connection; the packet is sent again, and arrives.
# What happens: the kernel drops that packet and deletes the connection's entry, for its address was the other
#   interface's. The packet that is sent again is masqueraded as a new connection. Plain masquerade takes the same
#   source port if it is free, and the connection goes on. With fully-random, as kube-proxy writes it, the port is
#   another: the server knows no such connection, and resets it. Without masquerade nothing of this happens.
# So: what restarts on a node must not take routes away that it will put back (to other nodes' Pods, for example),
#   not even for milliseconds. Replace a route in place.
# Seen with: Linux 6.18, nftables 1.0.6, iproute2 6.1.0, November 2026.
source "$(dirname "$0")/common.bash"
debian iproute2=6.1.0-3 libbpf1 nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2

seen <<'SCRIPT'
ip netns add client
ip netns add router
ip netns add server
ip link add to-client netns router type veth peer name eth0 netns client
for number in 1 2; do ip link add way$number netns router type veth peer name way$number netns server; done
ip -n client address add 192.0.2.2/24 dev eth0
ip -n router address add 192.0.2.1/24 dev to-client
for number in 1 2; do
  ip -n router address add 10.0.$number.1/24 dev way$number
  ip -n server address add 10.0.$number.2/24 dev way$number
  ip -n router link set way$number up
  ip -n server link set way$number up
done
ip -n server address add 203.0.113.1/32 dev way1
ip -n client link set eth0 up
ip -n router link set to-client up
ip -n client route add default via 192.0.2.1
ip -n server route add 192.0.2.0/24 via 10.0.1.1
ip netns exec router sysctl --quiet --write net.ipv4.ip_forward=1
for name in router server; do
  ip netns exec $name sysctl --quiet --write net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.way1.rp_filter=0 net.ipv4.conf.way2.rp_filter=0
done
cat > echo.py <<'PYTHON'
import socket
with socket.create_server(("203.0.113.1", 80)) as listener:
    while True:
        connection, _ = listener.accept()
        while data := connection.recv(100):
            connection.sendall(data)
        connection.close()
PYTHON
cat > ask.py <<'PYTHON'
import socket, subprocess
def by(way):
    subprocess.run(["ip", "-n", "router", "route", "replace", "203.0.113.1", "via", f"10.0.{way}.2"], check=True)
by(1)
with socket.create_connection(("203.0.113.1", 80), timeout=10) as connection:
    connection.sendall(b"first")
    assert connection.recv(100) == b"first"
    by(2)
    connection.sendall(b"second")
    connection.settimeout(0.1)
    try:
        found = connection.recv(100).decode()
    except TimeoutError:
        found = "nothing"
    by(1)
    connection.settimeout(10)
    try:
        then = connection.recv(100).decode() if found == "nothing" else "nothing more to come"
    except ConnectionResetError:
        then = "the connection is reset"
    print(f"by the other interface: {found}; when the route is back: {then}")
PYTHON
ip netns exec server python3 echo.py &
until ip netns exec server ss --listening --tcp --numeric | grep --quiet ':80 '; do sleep 0.05; done
for rule in "no masquerade" "masquerade" "masquerade fully-random"; do
  ip netns exec router nft flush ruleset
  if [[ $rule != no* ]]; then
    ip netns exec router nft "table ip nat { chain post { type nat hook postrouting priority srcnat; oifname way* $rule; }; }"
  fi
  echo "$rule: $(ip netns exec client python3 ask.py)"
done
SCRIPT
expect <<'TEXT'
no masquerade: by the other interface: second; when the route is back: nothing more to come
masquerade: by the other interface: nothing; when the route is back: second
masquerade fully-random: by the other interface: nothing; when the route is back: the connection is reset
TEXT
