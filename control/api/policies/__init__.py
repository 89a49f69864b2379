"""Policies in CEL about writes, and the conditions of webhooks. Pure.

``environment.py`` says what their expressions may name, ``compiled.py`` compiles a policy,
``decide.py`` computes it. Imported when there is one.
Source: k8s.io/apiserver/pkg/admission/plugin/{cel,policy}.
"""
