"""The proxy's reports: health, metrics, Events, health check node ports.

It imports ``desired``, ``linux`` and ``model``, and decides about no packet. Start with ``web``.
"""
