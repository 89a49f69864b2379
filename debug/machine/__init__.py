"""What a node has besides its network namespace: rules, tracked flows, its proxy and its CNI.

``values`` are what is read, ``read`` asks the kernel, the proxy's own pages and the node's files.
What cannot be read is named in ``unread``: it is unknown then, not absent.
"""
