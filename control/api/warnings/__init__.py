"""What a client is warned of when it writes or reads an object. Pure.

``table.py`` says which kind has which warnings. Source of the texts of deprecations:
zz_generated.prerelease-lifecycle.go of k8s.io/api.
"""
