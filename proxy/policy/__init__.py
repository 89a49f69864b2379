"""NetworkPolicies (networking.k8s.io/v1) and ClusterNetworkPolicies (policy.networking.k8s.io) on
this node: who may reach whom, and what is dropped.

``parse`` and ``tiers.parse`` make values of API objects. ``index`` decides what each Pod of the
node admits, by ``profile`` for NetworkPolicies and ``tiers`` for ClusterNetworkPolicies; what it
decided is ``posts``, the one value that renderers read (all pure). ``render`` writes it as
nftables' objects, ``kernel`` commits them, and ``engine`` is the loop. Start with ``index``.
"""
