"""The nftables backend: one table for each family, whose maps and sets the Services fill.

``render`` turns a claim into objects, ``ruleset`` finds the changed objects, ``transaction``
writes them as text. All but ``observe`` and ``backend`` are pure. Start with ``render``.
"""
