"""Reads rules of this thread's network namespace, no more of them than is asked for.

``decode`` is pure: netlink's attributes become steps. ``kernel`` asks for chains one by one, and
for single elements of sets by their key: to list a map of 10,000 Services takes seconds.
"""
