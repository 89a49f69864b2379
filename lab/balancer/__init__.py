"""The balancer before the API servers of a lab with several control planes.

It stands in the switch's network, as a site's load balancer stands before a real cluster:
control/balancer relays, ``names`` tells the cluster DNS which machines answer, and ``process`` is
what the lab's first process starts and keeps.
"""
