"""DaemonSet: one Pod on every node that fits.

https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/
"""
