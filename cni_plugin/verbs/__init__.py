"""The CNI verbs: each reads the kernel's state, lets ``plan`` decide, and applies the decision.

``answer`` is the entry: it turns environment and standard input into a request, and hands that to
the verb's function. ``observe`` reads the kernel's state, ``applier`` changes it. This room may
import ``firewall``, ``ipam``, ``plan``, ``linux`` and ``spec``.
"""
