"""Tokens of new nodes: sign the ConfigMap ``cluster-info`` with each, and delete what has ended.

``control/jointokens.py`` says what a token is. Source: k8s.io/kubernetes/pkg/controller/bootstrap
"""
