"""What the kernel did with a packet: ``podwire trace``.

A probe carries a mark that no translation of addresses changes. In each network namespace on its
way, ``watch`` listens to taps on links, to nftables' trace events, to conntrack's events and to
dropped packets. ``walk`` joins what was seen to hops, which is pure; ``model`` is the result, below
text, JSON and packet files.
"""
