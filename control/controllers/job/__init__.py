"""Jobs: runs Pods to their end, counts each exactly once, and says when the Job has ended.

``controller`` has the order of things; ``count`` the ended Pods, ``outcome`` the end of the Job,
``pods`` its new Pods, ``indexes`` those of an Indexed Job, and ``ttl`` removes old Jobs. All but
their table of sources is pure. Source: k8s.io/kubernetes/pkg/controller/job and
https://kubernetes.io/docs/concepts/workloads/controllers/job/
"""
