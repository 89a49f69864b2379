"""Deployment: replaces one version of a set of Pods by another without a gap.

``rollout`` computes sizes, ``history`` tells versions apart, ``status`` reports; all is pure. Start
reading in controller.py. https://kubernetes.io/docs/concepts/workloads/controllers/deployment/
"""
