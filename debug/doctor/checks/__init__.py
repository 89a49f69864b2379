"""The checks: pure functions of a ``Look``, with findings for every node or object.

A check also says what it read when nothing is wrong. Names are those of the faults in
docs/debug/faults.md.
"""
