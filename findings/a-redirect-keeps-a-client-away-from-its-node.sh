#!/usr/bin/env bash
# Two packets to a Service's address that came too early, and the client passes its node by for five minutes.
#
# One would guess: as soon as a node answers for an address, clients that route by this node reach it.
# What happens: before the node has a rule for the address it routes the packet on, to a gateway in the client's own
#   network, and tells the client so by an ICMP redirect. The second redirect is believed (the first one only makes
#   the client ask for the gateway's MAC address). From then on the client sends past the node, for 300 seconds,
#   whatever the node has by then.
# So: net.ipv4.conf.all.send_redirects 0 and the link's 0 on nodes that route for clients of their own network.
# Seen with: Linux 6.18, iproute2 6.1.0, November 2026.
source "$(dirname "$0")/common.bash"
debian iproute2=6.1.0-3 libbpf1

seen <<'SCRIPT'
ip link add bridge0 up type bridge
for name in client node gateway; do
  ip netns add $name
  ip link add to-$name up master bridge0 type veth peer name eth0 netns $name
  ip -n $name link set eth0 up
done
ip -n client address add 192.0.2.2/24 dev eth0
ip -n node address add 192.0.2.1/24 dev eth0
ip -n gateway address add 192.0.2.254/24 dev eth0
ip -n client route add default via 192.0.2.1
ip -n node route add default via 192.0.2.254
ip netns exec node sysctl --quiet --write net.ipv4.ip_forward=1
ask() { if ip netns exec client ping -c 1 -W 1 10.96.0.7 > /dev/null; then echo "an answer"; else echo "no answer"; fi; }
way() { ip -n client route get 10.96.0.7 | grep --only-matching -e 'via [0-9.]*' -e '<redirected>' | paste --serial --delimiters ' '; }

for number in 1 2 3; do
  echo "packet $number: $(ask); the next one goes $(way)"
  sleep 0.3
done
ip -n node address add 10.96.0.7/32 dev eth0
echo "the node has the address: $(ask)"
ip -n client route flush cache
echo "the client has forgotten the redirect: $(ask)"
SCRIPT
expect <<'TEXT'
packet 1: no answer; the next one goes via 192.0.2.1
packet 2: no answer; the next one goes via 192.0.2.254 <redirected>
packet 3: no answer; the next one goes via 192.0.2.254 <redirected>
the node has the address: no answer
the client has forgotten the redirect: an answer
TEXT
