#!/usr/bin/env bash
# An nftables set that is full is reported as "Too many open files in system".
#
# One would guess: an error that names the set or its size; "too many open files" sends everyone to fs.file-max.
# What it does: the kernel answers ENFILE for an element beyond "size", and nft prints the text of the errno. It
#   points at the element when it is added alone, and at the whole table when the set is made with it.
# So: with this message look at "size" of sets and maps, not at files. The whole transaction is refused.
# Seen with: nftables 1.0.6-2+deb12u2 (Debian 12), Linux 6.18, November 2026.
source "$(dirname "$0")/common.bash"
debian nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2 libnftnl11=1.2.4-2 libmnl0 libjansson4 \
  libedit2 libgmp10 libxtables12

seen <<'SCRIPT'
nft "table ip lab {
  set full { type ipv4_addr; size 2; elements = { 192.0.2.1, 192.0.2.2 }; }
}"
nft "add element ip lab full { 192.0.2.3 }" 2>&1 || echo "exit code $?"
nft "add element ip lab full { 192.0.2.2 }" && echo "one that is there: exit code 0"
SCRIPT
expect <<'TEXT'
Error: Could not process rule: Too many open files in system
add element ip lab full { 192.0.2.3 }
                          ^^^^^^^^^
exit code 1
one that is there: exit code 0
TEXT
