"""YAML in requests and answers: read and written as upstream's ``sigs.k8s.io/yaml`` does.

No HTTP here and no kinds: text in, JSON values out, and back.
"""
