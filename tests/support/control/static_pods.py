"""The file of a static Pod."""

POD = """
apiVersion: v1
kind: Pod
metadata:
  name: web
  creationTimestamp: 2026-11-30T08:00:00Z
  annotations: {a: b}
spec:
  containers:
  - name: main
    image: app:1
    resources: {limits: {memory: 1Gi}}
"""
