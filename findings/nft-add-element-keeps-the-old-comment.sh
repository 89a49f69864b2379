#!/usr/bin/env bash
# nft "add element" of an element that is there exits 0: a new timeout counts, a new comment or counter does not.
#
# One would guess: adding again changes the element, or is refused when something differs, as another value in a map
#   is refused with "File exists".
# What happens: a new timeout takes effect. A comment or a counter's start is dropped without a word, and so is
#   everything when element and value are the same.
# So: to change a comment or to reset a counter, delete and add in one transaction.
# Seen with: nftables 1.0.6-2+deb12u2 (Debian 12), Linux 6.18, November 2026.
source "$(dirname "$0")/common.bash"
debian nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2 libnftnl11=1.2.4-2 libmnl0 libjansson4 \
  libedit2 libgmp10 libxtables12

seen <<'SCRIPT'
nft -f - <<'RULES'
table ip lab {
  set owners { type ipv4_addr; elements = { 192.0.2.1 comment "first" }; }
  set counted { type ipv4_addr; counter; elements = { 192.0.2.1 counter packets 5 bytes 500 }; }
  set timed { type ipv4_addr; flags timeout; elements = { 192.0.2.1 timeout 1h }; }
  map ports { type ipv4_addr : inet_service; elements = { 192.0.2.1 : 80 }; }
}
RULES
add() {  # SET ELEMENT
  nft "add element ip lab $1 { $2 }" 2> answer && echo "add $2: exit code 0" \
    || echo "add $2: exit code $?, $(sed -n '1s/.*rule: //p' answer)"
  nft list table ip lab | sed -n "/ $1 {/,/}$/s/.*elements = //p" | sed 's/ expires [^ ]*//; s/^/  /'
}
add owners '192.0.2.1 comment "second"'
add counted '192.0.2.1 counter packets 0 bytes 0'
add timed '192.0.2.1 timeout 2h'
add ports '192.0.2.1 : 81'
nft 'delete element ip lab owners { 192.0.2.1 }; add element ip lab owners { 192.0.2.1 comment "second" }'
echo "deleted and added:"
nft list set ip lab owners | sed -n 's/.*elements = /  /p'
SCRIPT
expect <<'TEXT'
add 192.0.2.1 comment "second": exit code 0
  { 192.0.2.1 comment "first" }
add 192.0.2.1 counter packets 0 bytes 0: exit code 0
  { 192.0.2.1 counter packets 5 bytes 500 }
add 192.0.2.1 timeout 2h: exit code 0
  { 192.0.2.1 timeout 2h }
add 192.0.2.1 : 81: exit code 1, File exists
  { 192.0.2.1 : 80 }
deleted and added:
  { 192.0.2.1 comment "second" }
TEXT
