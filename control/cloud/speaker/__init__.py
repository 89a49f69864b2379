"""The speaker of a node: answers ARP and NDP for the addresses of load balancers (layer 2).

For each address one node answers, which all speakers compute from the same facts: ``choose``.
``members`` notices dead nodes, ``frames`` reads and writes packets; these are pure. ``sockets`` has
the node's raw sockets, ``speaker`` brings all together. Its kubeconfig is the proxy's.
"""
