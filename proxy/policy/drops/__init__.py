"""Every drop of a policy has a name: which Pod, which policies, who was the other end.

``explain`` says why a flow passes or not, ``packet`` reads what the rules log, ``naming`` names it
(all pure), ``table`` sums it up within bounds, ``counts`` reads the kernel's exact counters,
``watch`` is the loop, and ``page`` is what HTTP shows.
"""
