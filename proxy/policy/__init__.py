"""NetworkPolicies (networking.k8s.io/v1) on this node: who may reach whom, and what is dropped.

``parse`` makes values of API objects, ``index`` and ``profile`` decide what each Pod of the node
admits (pure), ``render`` writes it as nftables' objects, ``kernel`` commits them, and ``engine`` is
the loop. Start with ``index``.
"""
