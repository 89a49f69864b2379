"""Volumes: what binds claims to them, and what keeps both while they are used.

``binder`` ties claims and volumes, with ``bind`` for what is due on both sides; ``protection``
holds the finalizers; ``ephemeral`` makes the claims of Pods' ephemeral volumes. All is pure. Who
makes and removes the volumes of a class is its provisioner: control/agent/volumes. Source:
k8s.io/kubernetes/pkg/controller/volume
"""
