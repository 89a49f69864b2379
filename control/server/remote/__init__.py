"""Servers that extend this one: where a Service leads to, TLS, and answers of bounded size.

Aggregation, admission webhooks and conversion webhooks share it. May import ``streams`` and the
layers below. Source: k8s.io/apiserver/pkg/util/{proxy,webhook}.
"""
