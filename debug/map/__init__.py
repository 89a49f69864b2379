"""``podwire map``: what hangs together in a cluster's network, and what of it is broken.

``graph`` is a topology as values, ``topology`` makes it of a snapshot, ``text`` draws it; all of
them are pure. ``commands`` reads and prints.
"""
