"""``podwire drift``: what should be installed, against what is.

``wanted`` computes it by the functions of the proxy and the node network themselves, ``scratch``
has the kernel write it as it lists it, ``rules``, ``network`` and ``node`` compare, ``find`` joins
them. ``watch`` looks again and again.
"""
