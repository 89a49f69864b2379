"""What a network namespace holds: links, addresses, neighbors, routes, settings.

``values`` are what is read, ``read`` asks the kernel; ``conntrack`` has its connections, and
``echo`` pings from it; ``ring`` reads what an eBPF program tells. Imports nothing of the commands
above.
"""
