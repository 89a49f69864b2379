"""``podwire cni``: the commands of an administrator.

``cli`` is the entry. ``install`` puts the client into a runtime's folder, with ``standalone``;
``inventory`` lists a node's attachments. This room may import every other one.
"""
