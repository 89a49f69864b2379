"""The subresource ``proxy`` of nodes, Pods and Services: HTTP requests through the API server.

Start with ``relay.py``. ``carry.py`` carries a request and its answer in pieces, also for API
aggregation; ``backend.py`` decides where it goes; ``links.py`` and ``html.py``
make the links of a page lead through the proxy again.
Source: k8s.io/apimachinery/pkg/util/proxy, and k8s.io/kubernetes/pkg/registry/core.
"""
