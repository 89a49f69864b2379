"""The control plane: API types, API server, store, client, scheduler, controllers and agent.

The server, scheduler, controllers and agent meet only through the API: none imports another. All
of them use ``api``, and all but the server use ``client``. Nothing here imports ``proxy`` or
``cni_plugin``. Start reading with ``api/kinds.py``, then ``server/http/handler.py``.
"""
