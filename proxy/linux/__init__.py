"""The kernel's interfaces that several parts of the proxy use: netlink, libnftables, memory.

It imports ``model`` only and knows nothing of Services. Start with ``netlink``.
"""
