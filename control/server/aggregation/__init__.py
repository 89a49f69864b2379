"""API aggregation: groups of the API that an extension server of a Service serves.

``follow`` looks after all APIServices; ``check`` says whether one is available, ``discovery``
reads what its server serves, ``forward`` carries requests to it. May import ``streams`` and the
layers below. Source: k8s.io/kube-aggregator.
"""
