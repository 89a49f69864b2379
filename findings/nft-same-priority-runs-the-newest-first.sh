#!/usr/bin/env bash
# Of two nftables base chains with one hook and priority, the one that was added last runs first.
#
# One would guess: chains of equal priority run in the order in which they were added, as rules of a chain do.
# What happens: the kernel puts a new chain before those of its priority. The order is that of the last load,
#   not that of any file: a table that is deleted and loaded again comes first from then on.
# So: whose DNAT holds for a packet depends on which program started last. Take a priority of your own
#   (-105 for dstnat - 5), and never rely on an order of starts.
# Seen with: Linux 6.18, nftables 1.0.6-2+deb12u2, November 2026.
source "$(dirname "$0")/common.bash"
debian nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2

seen <<'SCRIPT'
load() {  # a table NAME that sends what goes to 192.0.2.1:80 to PORT of this machine
  nft "table ip $1 {
    chain out { type nat hook output priority -100; ip daddr 192.0.2.1 tcp dport 80 dnat to 127.0.0.1:$2; }
  }"
}
ip address add 192.0.2.1/32 dev lo
python3 -c '
import selectors, socket
waiting = selectors.DefaultSelector()
for port in (8001, 8002):
    waiting.register(socket.create_server(("127.0.0.1", port)), selectors.EVENT_READ, port)
print(flush=True)
while True:
    for key, _ in waiting.select():
        key.fileobj.accept()[0].sendall(str(key.data).encode())
' > ready &
until [[ -s ready ]]; do sleep 0.05; done
ask() { python3 -c 'import socket; print(socket.create_connection(("192.0.2.1", 80), 10).recv(9).decode())'; }

load first 8001
load second 8002
echo "first, then second: $(ask)"
nft delete table ip first
load first 8001
echo "first loaded again: $(ask)"
kill %1
SCRIPT
expect <<'TEXT'
first, then second: 8002
first loaded again: 8001
TEXT
