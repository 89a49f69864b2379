"""The proxy's values, settings, names and errors.

It imports no other room of the proxy, and has no effects. Start with ``values``.
"""
