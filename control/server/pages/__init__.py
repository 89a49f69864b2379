"""The pages that are not resources: health, version, discovery and OpenAPI.

May import ``verbs`` and the layers below. Start reading with ``routes.py``, which finds the page at
a path.
"""
