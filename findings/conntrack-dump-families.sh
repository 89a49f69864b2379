#!/usr/bin/env bash
# "conntrack -L" lists IPv4 and IPv6 flows; pyroute2's dump of the same table has the IPv4 ones only.
#
# One would guess: conntrack(8) says of -f "if this option is not passed, the default layer 3 protocol will be
#   IPv4"; and that a library's dump() without a filter dumps everything.
# What they do: conntrack -L without -f lists both families. pyroute2's NFCTSocket.dump() asks the kernel
#   for AF_INET, and has no argument for the other family.
# So: give conntrack -f; do not look for IPv6 flows in NFCTSocket.dump().
# Seen with: conntrack 1:1.4.7-1+b2 (Debian 12), pyroute2 0.9.7, Linux 6.18, November 2026.
source "$(dirname "$0")/common.bash"
debian conntrack=1:1.4.7-1+b2 libnetfilter-conntrack3 libnfnetlink0 libmnl0
python pyroute2==0.9.7

seen <<'SCRIPT'
enter() {
  conntrack -I -p tcp -s "$1" -d "$2" --sport 1000 --dport 80 -t 100 --state ESTABLISHED 2> /dev/null
}
sources() { conntrack "$@" 2> /dev/null | sed -E 's/.*ESTABLISHED src=([^ ]+).*/\1/' | xargs; }
enter 192.0.2.1 192.0.2.2
enter 2001:db8::1 2001:db8::2
echo "conntrack -L: $(sources -L)"
echo "conntrack -L -f ipv4: $(sources -L -f ipv4)"
echo "conntrack -L -f ipv6: $(sources -L -f ipv6)"
python - <<'PYTHON'
import re
from pyroute2 import NFCTSocket
with NFCTSocket() as table:
    flows = [str(flow.get_attr("CTA_TUPLE_ORIG")) for flow in table.dump()]
print("pyroute2's dump():", *(re.search(r"_SRC', '([^']+)'", flow)[1] for flow in flows))
PYTHON
SCRIPT
expect <<'TEXT'
conntrack -L: 192.0.2.1 2001:db8::1
conntrack -L -f ipv4: 192.0.2.1
conntrack -L -f ipv6: 2001:db8::1
pyroute2's dump(): 192.0.2.1
TEXT
