"""The desired state of packets, as values: all modules here are pure.

It imports ``model`` only. ``tracker`` computes the state from objects, ``portals`` interprets a
Service, ``claims`` decides between Services, ``fate`` evaluates a packet. Start with ``portals``.
"""
