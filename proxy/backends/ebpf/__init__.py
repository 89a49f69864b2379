"""The ebpf backend: balancing at sockets and by packets, in front of nftables' rules."""
