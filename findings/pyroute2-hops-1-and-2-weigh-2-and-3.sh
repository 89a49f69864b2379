#!/usr/bin/env bash
# Next hops with hops=1 and hops=2 in pyroute2 share packets as 2 to 3, not as 1 to 2.
#
# One would guess: "hops" of a multipath route is what iproute2 calls "weight"; one next hop gets twice the share.
# What it does: it writes the number into the kernel's field rtnh_hops as it is, and that is the weight less one.
#   iproute2 takes the one off. A next hop without the key has weight 1, so a plain one beside hops=1 gets a
#   third instead of a half.
# So: give weight - 1, and none for weight 1.
# Seen with: pyroute2 0.9.7, iproute2 6.1.0, Linux 6.18, November 2026.
source "$(dirname "$0")/common.bash"
python pyroute2==0.9.7

seen <<'SCRIPT'
ip link add near0 type veth peer name far0
ip link set far0 up
ip link set near0 up
ip address add 192.0.2.1/24 dev near0
python - <<'PYTHON'
from pyroute2 import IPRoute

with IPRoute() as kernel:
    kernel.route("add", dst="10.0.0.0/8", multipath=[
        {"gateway": "192.0.2.2", "hops": 1}, {"gateway": "192.0.2.3", "hops": 2}])
    kernel.route("add", dst="172.16.0.0/12", multipath=[
        {"gateway": "192.0.2.2"}, {"gateway": "192.0.2.3", "hops": 1}])
PYTHON
show() { ip route show "$1" | grep -o 'via .*' | sed 's/dev near0 //; s/ *$//'; }
echo "hops=1 and hops=2:"
show 10.0.0.0/8
echo "none and hops=1:"
show 172.16.0.0/12
SCRIPT
expect <<'TEXT'
hops=1 and hops=2:
via 192.0.2.2 weight 2
via 192.0.2.3 weight 3
none and hops=1:
via 192.0.2.2 weight 1
via 192.0.2.3 weight 2
TEXT
