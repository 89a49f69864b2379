"""What the programs of a node serve, read from its kernel.

``maps`` is the way back from ``contents`` and ``layout``, for who looks at a node from outside: it
needs no proxy, and no object of the API.
"""
