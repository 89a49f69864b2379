"""``podwire capture``: the packets of a Pod, in its network and, if asked, on its way.

No rule is added: packet sockets with a filter in the kernel listen, and end with the process.
"""
