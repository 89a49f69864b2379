"""``x-kubernetes-validations``: rules in CEL that a definition's schema has. Pure.

``declared.py`` says which types values have in rules, ``compiled.py`` compiles the rules of a
schema and finds what is wrong with them, ``run.py`` holds an object to them.
Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel.
"""
