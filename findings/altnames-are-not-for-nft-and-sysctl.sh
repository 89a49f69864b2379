#!/usr/bin/env bash
# An alternative name of a link works for ip, tc and SO_BINDTODEVICE; nft and sysctl do not know it.
#
# One would guess: the kernel knows a link by each of its names ("altname"), so each tool does.
# What happens: what asks the kernel by name gets the link, and another link cannot take the name. Folders of sysctls
#   and of sysfs exist for the first name alone. nft's "iif" looks through its own list of links and says
#   "Interface does not exist"; "iifname" loads with any text, and never matches an alternative one.
# So: a rule on the name that systemd gives as altname (enp0s3) may silently match nothing. Ask for the first name:
#   ip -o link show dev NAME.
# Seen with: iproute2 6.1.0, nftables 1.0.6-2+deb12u2, Linux 6.18, November 2026.
source "$(dirname "$0")/common.bash"
debian nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2 libnftnl11=1.2.4-2 libmnl0 libjansson4 \
  libedit2 libgmp10 libxtables12

seen <<'SCRIPT'
ip netns add far
ip link add near0 type veth peer name far0 netns far
ip link property add dev near0 altname other0
try() { "${@:2}" > answer 2>&1 && echo "$1: works" || echo "$1: fails"; }
try "ip address" ip address add 192.0.2.1/24 dev other0
try "ip link" ip link set other0 up
try "tc" tc qdisc add dev other0 clsact
try "SO_BINDTODEVICE" python3 -c '
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"other0")'
try "sysctl" sysctl net.ipv4.conf.other0.forwarding
nft 'table ip lab {
  chain in { type filter hook input priority 0; }
}'
try "nft iif" nft add rule ip lab in iif other0 counter
try "nft iifname" nft add rule ip lab in iifname other0 counter
nft add rule ip lab in iifname near0 counter
ip -n far address add 192.0.2.2/24 dev far0
ip -n far link set far0 up
ip netns exec far ping -q -c1 192.0.2.1 > /dev/null
nft list chain ip lab in | grep -o 'iifname.*packets [0-9]' | sed 's/[1-9]$/some/; s/counter packets/packets:/'
SCRIPT
expect <<'TEXT'
ip address: works
ip link: works
tc: works
SO_BINDTODEVICE: works
sysctl: fails
nft iif: fails
nft iifname: works
iifname "other0" packets: 0
iifname "near0" packets: some
TEXT
