#!/usr/bin/env bash
# With net.bridge.bridge-nf-call-iptables 0 a bridge still shows its frames to the rules of IP, if its own switch is on.
#
# One would guess: the sysctl is the main switch, so 0 keeps bridged frames from iptables and nftables' tables of IP;
#   and a new network namespace begins with the value of the one that made it.
# What the kernel does: either switch suffices, the sysctl of the namespace or the bridge's nf_call_iptables. A new
#   namespace begins with 1, whatever the sysctl is elsewhere: a file in /etc/sysctl.d is for the host's alone.
# So: look at both switches (ip -d link show BRIDGE); in a namespace with bridges of your own set the sysctl there.
# Seen with: Linux 6.18 and br_netfilter, iproute2 6.1.0, nftables 1.0.6, November 2026.
source "$(dirname "$0")/common.bash"
debian nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2 libnftnl11=1.2.4-2 libmnl0 libjansson4 \
  libedit2 libgmp10 libxtables12 iproute2=6.1.0-3 libbpf1
[[ -e /proc/sys/net/bridge ]] || cannot "this kernel has no br_netfilter: modprobe br_netfilter"

seen <<'SCRIPT'
value() { cat /proc/sys/net/bridge/bridge-nf-call-iptables; }
echo "a new namespace begins with $(value)"
echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables
echo "it has $(value) now; one that is made in it begins with $(unshare --net --mount sh -c '
  mount -t sysfs none /sys; cat /proc/sys/net/bridge/bridge-nf-call-iptables')"
ip link add bridge0 up type bridge
for name in a b; do
  ip netns add $name
  ip link add to-$name up master bridge0 type veth peer name eth0 netns $name
  ip -n $name link set eth0 up
done
ip -n a address add 192.0.2.1/24 dev eth0
ip -n b address add 192.0.2.2/24 dev eth0
nft add table ip t
nft add chain ip t c '{ type filter hook forward priority 0; policy drop; }'
ask() { if ip netns exec a ping -c 1 -W 1 192.0.2.2 > /dev/null; then echo passes; else echo "is dropped"; fi; }
for own in 0 1; do
  ip link set bridge0 type bridge nf_call_iptables $own
  echo "sysctl $(value), nf_call_iptables of the bridge $own: a packet between its ports $(ask)"
done
SCRIPT
expect <<'TEXT'
a new namespace begins with 1
it has 0 now; one that is made in it begins with 1
sysctl 0, nf_call_iptables of the bridge 0: a packet between its ports passes
sysctl 0, nf_call_iptables of the bridge 1: a packet between its ports is dropped
TEXT
