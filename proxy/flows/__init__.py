"""Tracked flows that a change made stale, and their removal.

``stale`` decides (pure), ``table`` reads and changes the kernel's conntrack table, ``record``
remembers served frontends for the next run. It imports ``desired``, ``linux`` and ``model``. Start
with ``cleaner``.
"""
