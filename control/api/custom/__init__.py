"""Custom resources: what a CustomResourceDefinition says about its objects. Pure.

Nothing here is imported before a definition exists. Start with ``kind.py`` (definitions to kinds),
then ``schema.py`` (structural schemas); ``values.py`` prunes and completes objects, ``validate.py``
checks them, and ``check.py`` checks definitions.

Source: k8s.io/apiextensions-apiserver.
"""
