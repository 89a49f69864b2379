#!/usr/bin/env bash
# "nft -c" passes chains that jump in a circle or too deep; loading them fails.
#
# One would guess: nft --check sends the rules to the kernel without taking effect, so what passes it loads.
# What it does: the kernel looks for circles and for depth (16 jumps) at the end of a transaction, and a check
#   has no such end. A circle through a verdict map is refused by both, a statement at a hook where it cannot
#   be too.
# So: a check in CI or before a reload is no promise. Load the rules in a network namespace of their own
#   (unshare --net nft -f FILE), which is as cheap and tells all.
# Seen with: nftables 1.0.6-2+deb12u2 (Debian 12), Linux 6.18, November 2026.
source "$(dirname "$0")/common.bash"
debian nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2 libnftnl11=1.2.4-2 libmnl0 libjansson4 \
  libedit2 libgmp10 libxtables12

seen <<'SCRIPT'
try() {
  nft flush ruleset
  { echo "table ip lab {"; cat; echo "}"; } > rules
  echo "$1: check $(nft -c -f rules > /dev/null 2>&1 && echo passes || echo fails)," \
    "load $(nft -f rules > answer 2>&1 && echo passes || sed -n '1s/.*Error: /fails: /p' answer)"
}
try "a circle" <<'RULES'
  chain in { type filter hook input priority 0; jump one; }
  chain one { jump two; }
  chain two { jump one; }
RULES
try "a circle through a map" <<'RULES'
  map services { type ipv4_addr : verdict; elements = { 192.0.2.1 : jump one }; }
  chain in { type filter hook input priority 0; jump one; }
  chain one { ip daddr vmap @services; }
RULES
depth() {
  echo "  chain c0 { accept; }"
  for i in $(seq "$1"); do echo "  chain c$i { jump c$((i - 1)); }"; done
  echo "  chain in { type filter hook input priority 0; jump c$1; }"
}
depth 14 | try "15 jumps deep"
depth 20 | try "21 jumps deep"
try "masquerade on input" <<'RULES'
  chain in { type nat hook input priority 0; masquerade; }
RULES
SCRIPT
expect <<'TEXT'
a circle: check passes, load fails: Could not process rule: Too many links
a circle through a map: check fails, load fails: Could not process rule: Too many links
15 jumps deep: check passes, load passes
21 jumps deep: check passes, load fails: Could not process rule: Too many links
masquerade on input: check fails, load fails: Could not process rule: Operation not supported
TEXT
