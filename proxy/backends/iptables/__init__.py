"""The iptables backend: kube-proxy's chains, written as ``iptables-restore`` transactions.

``render`` turns a portal into rules, ``ruleset`` finds the changed chains, ``tool`` runs the
commands. All but ``tool``, ``legacy`` and ``backend`` are pure. Start with ``render``.
"""
