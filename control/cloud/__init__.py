"""The cloud controller manager, and what announces the addresses that it gives.

``provider`` is what a cloud can do; ``services`` drives it for Services of type LoadBalancer,
``nodes`` for Nodes, and ``lab`` is a cloud of address pools and a lab's machines. ``speaker`` runs
on each node and answers ARP and NDP for the addresses. May import control.client, control.api and
the controllers' loop. Start in provider.py.
"""
