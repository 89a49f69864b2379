#!/usr/bin/env bash
# One native rule with "reject" or "ct state" makes iptables-nft-save leave the whole table out, and exit 0.
#
# One would guess: a rule that iptables cannot express is skipped or marked; the rules beside it, which
#   iptables itself made, are listed. Reject and conntrack even exist in iptables.
# What it does: iptables on nf_tables looks for expressions that it does not know ("ct", "reject", "log",
#   "fib", "numgen", "dup", a named counter are such). One is enough: iptables-nft-save prints a comment in
#   place of the table, on standard output, nothing on standard error, and exits 0. iptables -L and -S do the
#   same on standard error, with exit code 1. Another table is listed as always.
# So: a saved file may lack "*filter" although the save succeeded; loaded at boot it leaves the filter empty.
#   Look for the tables that you expect in what was saved.
# Seen with: iptables 1.8.9-2 and nftables 1.0.6-2+deb12u2 (Debian 12), Linux 6.18, November 2026.
source "$(dirname "$0")/common.bash"
debian iptables=1.8.9-2 libxtables12=1.8.9-2 nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2 \
  libnftnl11=1.2.4-2 libmnl0 libjansson4 libedit2 libgmp10

seen <<'SCRIPT'
save() {
  echo "== $1"
  iptables-nft-save > saved 2> said && echo "exit code 0, $(wc -c < said) bytes on standard error"
  grep -e '^\*' -e '^-A' -e incompatible saved
}
iptables-nft -A INPUT -s 192.0.2.1 -j DROP
iptables-nft -t raw -A PREROUTING -s 192.0.2.2 -j DROP
save "iptables' own rules"
for rule in "ct state established accept" "tcp dport 25 reject"; do
  nft add rule ip filter INPUT "$rule"
  save "and $rule"
  nft delete rule ip filter INPUT handle "$(nft -a list chain ip filter INPUT | sed -n '$!s/.*# handle //p' | tail -n 1)"
done
nft add rule ip filter INPUT tcp dport 25 reject
iptables-nft -S 2>&1 || echo "iptables -S: exit code $?"
SCRIPT
expect <<'TEXT'
== iptables' own rules
exit code 0, 0 bytes on standard error
*raw
-A PREROUTING -s 192.0.2.2/32 -j DROP
*filter
-A INPUT -s 192.0.2.1/32 -j DROP
== and ct state established accept
exit code 0, 0 bytes on standard error
*raw
-A PREROUTING -s 192.0.2.2/32 -j DROP
# Table `filter' is incompatible, use 'nft' tool.
== and tcp dport 25 reject
exit code 0, 0 bytes on standard error
*raw
-A PREROUTING -s 192.0.2.2/32 -j DROP
# Table `filter' is incompatible, use 'nft' tool.
iptables v1.8.9 (nf_tables): table `filter' is incompatible, use 'nft' tool.
iptables -S: exit code 1
TEXT
