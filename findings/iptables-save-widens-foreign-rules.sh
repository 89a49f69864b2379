#!/usr/bin/env bash
# iptables-nft-save prints a rule with a set match as a rule that matches more, and exits 0.
#
# One would guess: iptables 1.8 on nf_tables refuses to list what it cannot express, or marks it.
# What it does: nft's own syntax may add rules to the table that iptables-nft uses. A match on a named
#   set ("ip saddr @lab") has no counterpart in iptables; iptables-nft-save leaves the match out and
#   prints the rest: "drop SSH from two addresses" reads "drop SSH". Loaded again, it is that.
#   A native statement ("meta mark set 1") on the other hand ends the listing in the middle, without
#   COMMIT, with exit code 3.
# So: never take the output of iptables-save for the whole truth about a table that others write to; compare
#   with "nft list ruleset", and treat a listing without COMMIT as no listing.
# Seen with: iptables 1.8.9-2 and nftables 1.0.6-2+deb12u2 (Debian 12), Linux 6.18, November 2026.
source "$(dirname "$0")/common.bash"
debian iptables=1.8.9-2 libxtables12=1.8.9-2 nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2 \
  libnftnl11=1.2.4-2 libmnl0 libjansson4 libedit2 libgmp10

seen <<'SCRIPT'
nft -f - <<'RULES'
table ip filter {
  set lab { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 }; }
  chain INPUT {
    type filter hook input priority filter; policy accept;
    ip saddr @lab tcp dport 22 counter drop
  }
}
RULES
echo "1. a set match"
iptables-nft-save -t filter > saved && echo "exit code 0"
grep -e '^-A' -e COMMIT saved
iptables-nft-restore < saved
echo "2. loaded again"
nft list chain ip filter INPUT | grep -o 'tcp dport.*'
nft flush chain ip filter INPUT
nft add rule ip filter INPUT meta mark set 1
nft add rule ip filter INPUT tcp dport 23 counter drop
echo "3. a native statement"
iptables-nft-save -t filter > saved 2>/dev/null || echo "exit code $?"
grep -c -e '^-A' -e COMMIT saved || true
SCRIPT
expect <<'TEXT'
1. a set match
exit code 0
-A INPUT -p tcp -m tcp --dport 22 -j DROP
COMMIT
2. loaded again
tcp dport 22 counter packets 0 bytes 0 drop
3. a native statement
exit code 3
0
TEXT
