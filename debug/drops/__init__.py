"""``podwire drops``: where packets end, by every counter that a node's kernel has.

``counters`` reads a node: policies, rules that drop, conntrack, protocols, links, the backlog.
``reasons`` hears why the kernel drops packets. ``meaning`` says what a counter counts; ``cli``
lists what there is, or follows what grows.
"""
