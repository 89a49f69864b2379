"""Port mappings, masquerade and ingress policy in the host's packet filter.

``wanted`` says what an attachment wants, ``host`` sees to it: by ``nft`` (``nft_rules`` writes its
table) or by ``iptables`` (``iptables_rules`` writes its chains), as the configuration asks or the
node has.
"""
