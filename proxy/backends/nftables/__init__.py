"""The nftables backend: one flat table, whose cost for a packet does not grow with Services."""
