"""What a network namespace holds: links, addresses, neighbors, routes, settings.

``values`` are what is read, ``read`` asks the kernel. Imports nothing of the commands above.
"""
