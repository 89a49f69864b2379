#!/usr/bin/env bash
# In a set with auto-merge nft cannot delete what it added; in a map it deletes an element whose value is another.
#
# One would guess: an element that was added can be deleted by the same words, and "delete element m { k : v }"
#   deletes only what is there.
# What nft does: two halves of a network become one element, the second one's comment is lost, and to delete either
#   half is an error. A part that was never an element is an error, too: nothing is split. In a map the value of a
#   delete is not compared: the key goes, whatever it leads to.
# So: keep the list of what was added, and write the whole set anew; get a map's element before you delete it, in
#   one program that nobody else works beside.
# Seen with: nftables 1.0.6 (Debian 12), Linux 6.18, November 2026.
source "$(dirname "$0")/common.bash"
debian nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2 libnftnl11=1.2.4-2 libmnl0 libjansson4 \
  libedit2 libgmp10 libxtables12

seen <<'SCRIPT'
nft add table ip t
nft add set ip t networks '{ type ipv4_addr; flags interval; auto-merge; }'
nft add element ip t networks '{ 192.0.2.0/25 comment "office", 192.0.2.128/25 comment "guests" }'
nft list set ip t networks | grep --only-matching '{ 192.*'
for network in 192.0.2.128/25 192.0.2.0/26; do
  nft delete element ip t networks "{ $network }" > said 2>&1 || echo "delete $network: $(grep Error said)"
done
nft add map ip t ports '{ type inet_service : ipv4_addr; }'
nft add element ip t ports '{ 80 : 192.0.2.1 }'
nft delete element ip t ports '{ 80 : 192.0.2.9 }' && echo "delete 80 : 192.0.2.9: no error"
echo "elements of the map: $(nft list map ip t ports | grep --count elements)"
SCRIPT
expect <<'TEXT'
{ 192.0.2.0/24 comment "office" }
delete 192.0.2.128/25: Error: element does not exist
delete 192.0.2.0/26: Error: element does not exist
delete 80 : 192.0.2.9: no error
elements of the map: 0
TEXT
