"""StatefulSets: Pods with numbers, which keep their names, hosts and claims.

``pods`` makes the Pod and the claims of a number, ``plan`` decides what is due, ``controller`` ties
them to the revisions and the status. All is pure. Source:
k8s.io/kubernetes/pkg/controller/statefulset and
https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/
"""
