"""ClusterNetworkPolicies: rules in an order, in tiers before and after NetworkPolicies.

``feed`` follows them while the cluster has the kind, ``parse`` reads them, ``ranking`` makes of a
tier's rules what a renderer can look up (pure), and ``networks`` cuts its networks into ranges.
"""
