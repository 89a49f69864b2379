"""The ebpf backend: balancing at sockets and by packets, in front of nftables' rules.

``bpf/`` has the programs in C, ``contents`` and ``layout`` compute their maps (both pure).
``sockets`` and ``packets`` load and attach them through ``libbpf``. Start with ``backend``.
"""
