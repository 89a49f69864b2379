"""The wire types of the Kubernetes API, with their defaults, validation and table columns.

Everything here is pure, and imports nothing else of podwire. Start reading with ``kinds.py`` (the
table of kinds), then ``base.py`` (how a type is written) and ``rules.py`` (each kind's rules).
"""
