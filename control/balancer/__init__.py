"""A balancer before several API servers: each connection goes to a ready one.

``backend`` is one server and its health, ``relay`` gives it connections, and ``streams`` copies
what they say. A lab has one in its switch's network (lab/balancer); on real machines each node has
one on its loopback: ``servers`` follows which API servers there are, ``cli`` is the process.
"""
