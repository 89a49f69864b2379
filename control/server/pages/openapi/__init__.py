"""OpenAPI v2 and v3, written from upstream's types in ``control.api.definitions``.

May import ``discovery`` and ``verbs.patch``. Start reading with ``documents.py``, then
``schema.py`` (types to schemas) and ``operations.py`` (kinds to paths).
"""
