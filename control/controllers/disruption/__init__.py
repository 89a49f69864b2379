"""Budgets of disruption: counts the Pods that may be evicted now.

``expected`` says how many Pods there should be, ``controller`` writes the status that evictions and
the scheduler read, ``stale`` takes back what was said of a Pod that stayed. All is pure.
Source: k8s.io/kubernetes/pkg/controller/disruption and
https://kubernetes.io/docs/concepts/workloads/pods/disruptions/
"""
