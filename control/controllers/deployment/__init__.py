"""Deployment: versions of a set of Pods, one replacing the other without a gap.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/
"""
