"""The backends: each writes the desired state into one interface of the kernel.

``base`` is their protocol and their table. A backend imports ``desired``, ``linux`` and ``model``,
and no other backend; only ``ebpf`` stands on ``nftables``. Start with ``base``, then a backend's
``backend``.
"""
