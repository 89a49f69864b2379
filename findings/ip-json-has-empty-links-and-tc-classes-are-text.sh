#!/usr/bin/env bash
# "ip -j link show up" has an empty object for each link that is down, and "tc -j class show" prints text.
#
# One would guess: -j prints JSON, with the same entries that the text has.
# What they do: ip opens an object for each link before it looks whether the link is to be shown, when the filter is
#   one that the kernel does not apply ("up"); links of another type or master the kernel leaves out itself. The
#   classes of HTB are text although -j was given, and its qdisc is JSON. The exit code is 0 each time.
# So: skip entries without "ifname"; read classes by netlink, or by pattern.
# Seen with: iproute2 6.1.0-3 (Debian 12), Linux 6.18, November 2026.
source "$(dirname "$0")/common.bash"
debian iproute2=6.1.0-3

seen <<'SCRIPT'
ip link add near0 type veth peer name far0
ip link add lower0 type veth peer name lower1
ip link set far0 up
ip link set near0 up
tc qdisc add dev near0 root handle 1: htb default 10
tc class add dev near0 parent 1: classid 1:10 htb rate 1mbit
show() {
  "$@" > printed && code=$?
  echo "$*: exit code $code, $(python3 - <<'PYTHON'
import json
text = open("printed").read()
try:
    items = json.loads(text)
except ValueError:
    print("text:", text.split()[0])
else:
    print(f"{len(items)} objects, {items.count({})} of them empty")
PYTHON
)"
}
echo "links that are up: $(ip -o link show up | wc -l)"
show ip -j link show up
show ip -j link show type veth
show tc -j qdisc show dev near0
show tc -j class show dev near0
SCRIPT
expect <<'TEXT'
links that are up: 3
ip -j link show up: exit code 0, 5 objects, 2 of them empty
ip -j link show type veth: exit code 0, 4 objects, 0 of them empty
tc -j qdisc show dev near0: exit code 0, 1 objects, 0 of them empty
tc -j class show dev near0: exit code 0, text: class
TEXT
