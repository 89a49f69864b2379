"""The API server, which stands in for kube-apiserver.

It imports ``control.api``, ``control.store`` and ``control.tls``. Layers from top to bottom: cli,
app, http, access and streams, pages, verbs, state, wire. Start reading with ``http/handler.py``,
which every request passes, then ``verbs/table.py``.
"""
