#!/usr/bin/env bash
# pyroute2's get_routes(dst="10.77.0.0/16") returns a route to 10.77.0.0/16 when there is only a default route.
#
# One would guess: it lists the table's routes and keeps those with this destination; an empty answer means that
#   the route has to be added.
# What it does: with "dst" it asks the kernel how a packet to the address 10.77.0.0 would go ("ip route get"). The
#   answer has the address as its destination, with a prefix length of 32, and the gateway of whatever route holds.
#   The prefix length that was asked for counts for nothing.
# So: route("dump", dst=...) lists and filters. Compare dst_len too.
# Seen with: pyroute2 0.9.7, Linux 6.18, November 2026.
source "$(dirname "$0")/common.bash"
python pyroute2==0.9.7

seen <<'SCRIPT'
ip link add near0 type veth peer name far0
ip link set far0 up
ip link set near0 up
ip address add 192.0.2.1/24 dev near0
ip route add default via 192.0.2.2
ip route add 10.4.0.0/16 via 192.0.2.3
python - <<'PYTHON'
from pyroute2 import IPRoute

def shown(routes):
    found = [f"{it.get('dst')}/{it['dst_len']} via {it.get('gateway')}" for it in routes]
    return ", ".join(found) or "nothing"

with IPRoute() as kernel:
    for dst in ("10.4.0.0/16", "10.77.0.0/16"):
        print(f'get_routes(dst="{dst}"):', shown(kernel.get_routes(dst=dst)))
        print(f'route("dump", dst="{dst}"):', shown(kernel.route("dump", dst=dst)))
PYTHON
SCRIPT
expect <<'TEXT'
get_routes(dst="10.4.0.0/16"): 10.4.0.0/32 via 192.0.2.3
route("dump", dst="10.4.0.0/16"): 10.4.0.0/16 via 192.0.2.3
get_routes(dst="10.77.0.0/16"): 10.77.0.0/32 via 192.0.2.2
route("dump", dst="10.77.0.0/16"): nothing
TEXT
