#!/usr/bin/env bash
# A TCP connection that was refused is in the connection tracking table at no time that a program could look.
#
# One would guess: the entry is there in state CLOSE for nf_conntrack_tcp_timeout_close, 10 seconds, as after any RST; so
#   who lists the table once a second sees every attempt, and can count refused ones by Service.
# What happens: a RST that answers a SYN deletes the entry at once. The list never has it; only events tell of it, and
#   they say DESTROY without a state. A reset of an open connection does leave an entry in CLOSE.
# So: count refused connections by events or by rules, not by the table.
# Seen with: Linux 6.18, conntrack-tools 1.4.7, nftables 1.0.6, November 2026.
source "$(dirname "$0")/common.bash"
debian conntrack=1:1.4.7-1+b2 iproute2=6.1.0-3 libbpf1 nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2

seen <<'SCRIPT'
ip link set lo up
nft 'table ip t { chain c { type filter hook output priority 0; ct state new; }; }'
sysctl --quiet --write net.netfilter.nf_conntrack_tcp_timeout_close=60
cat > call.py <<'PYTHON'
import socket, struct
try:
    socket.create_connection(("127.0.0.1", 7))
except ConnectionRefusedError:
    print("refused")
with socket.create_server(("127.0.0.1", 8)) as server:
    client = socket.create_connection(("127.0.0.1", 8))
    accepted, _ = server.accept()
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    accepted.close()
    try:
        client.recv(1)
    except ConnectionResetError:
        print("reset")
PYTHON
python3 call.py
for port in 7 8; do
  echo "entries of port $port: $(conntrack -L -p tcp --orig-port-dst $port 2> /dev/null | awk '{ print $4 }' | tr '\n' ' ')"
done
SCRIPT
expect <<'TEXT'
refused
reset
entries of port 7: 
entries of port 8: CLOSE 
TEXT
