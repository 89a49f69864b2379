"""The firewall rules of attachments: port mappings, masquerade and ingress policy.

``backends`` is the entry: it gives each part of an attachment's rules to one backend. A backend is
``iptables_backend`` (``iptables_rules`` writes and parses, ``iptables_tool`` executes) or
``nftables_backend`` (``nftables_rules`` writes, ``libnftables`` executes). This room may import
``plan``, ``linux`` and ``spec``.
"""
