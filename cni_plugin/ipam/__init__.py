"""Address management (IPAM): the addresses of a network's containers.

``source`` is the entry: it picks ``local`` or ``delegate``. ``local`` allocates from the ranges of
``spec.ranges`` and keeps reservations in host-local's files, through ``store``; ``delegate``
executes another IPAM plugin. This room may import ``linux`` and ``spec``.
"""
