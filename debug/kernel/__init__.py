"""What a network namespace holds: links, addresses, neighbors, routes, settings.

``values`` are what is read, ``read`` asks the kernel; ``conntrack`` has its connections, and
``echo`` pings from it. Imports nothing of the commands above.
"""
