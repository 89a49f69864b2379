"""Requests for certificates: approves those of nodes, signs what is approved, removes old ones.

``rules`` says which request a signer takes, ``authority`` signs; ``approving``, ``signing`` and
``cleaning`` are the controllers. Source: k8s.io/kubernetes/pkg/controller/certificates and
https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
"""
