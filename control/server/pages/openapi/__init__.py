"""OpenAPI v2 and v3, derived from the models of ``control.api``.

May import ``discovery`` and ``verbs.patch``. Start reading with ``documents.py``, then
``schema.py`` (models to schemas) and ``operations.py`` (kinds to paths). The texts are in
``fields/``.
"""
