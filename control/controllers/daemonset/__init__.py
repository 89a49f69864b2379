"""DaemonSet: one Pod on every node that fits.

``rollout`` decides, ``template`` makes Pods, ``history`` keeps revisions; all is pure. Start
reading in controller.py. https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/
"""
