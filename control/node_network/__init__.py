"""The node's network: routes or VXLAN to the other nodes, masquerading, the CNI configuration.

``plan`` and ``render`` are pure; ``kernel`` has all netlink; ``sync`` is the loop. May import
control.api and control.linux. Start reading in plan.py.
"""
