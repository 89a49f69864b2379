"""Counters for each Service, in a table of their own, with every backend.

``table`` is their desired state, ``counting`` writes and reads it, ``totals`` adds up, ``top`` is
the command. It imports the renderer and transactions of ``backends.nftables``. Start with
``counting``.
"""
