"""The ebpf backend: balancing at the socket, in front of nftables' rules for packets."""
