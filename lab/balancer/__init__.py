"""The balancer before the API servers of a lab with several control planes.

It stands in the switch's network, as a site's load balancer stands before a real cluster:
``backend`` is one server and its health, ``relay`` gives it connections, ``names`` tells the
cluster DNS, and ``process`` is what the lab's first process starts and keeps.
"""
