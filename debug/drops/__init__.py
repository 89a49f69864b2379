"""``podwire drops``: where packets end, by every counter that a node's kernel has.

``counters`` reads a node: policies, rules that drop, conntrack, protocols, links, the backlog.
``meaning`` says what a counter counts; ``cli`` lists what there is, or follows what grows.
"""
