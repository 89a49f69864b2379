"""nftables' rules as values, and what they do to a packet: pure.

The kernel's own form of rules is evaluated (registers, loads, comparisons), not nft's text: it has
few kinds of steps, it is the same for nft and iptables-nft, and nothing is lost in listing it.
``values`` and ``steps`` are what is read, ``traverse`` sends a packet through a hook; ``read`` asks
the kernel. Source: net/netfilter/nft_*.c of Linux 6.18, linux/netfilter/nf_tables.h.
"""
