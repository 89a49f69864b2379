"""Conversion webhooks of CustomResourceDefinitions: objects of one version as another one.

``webhook.py`` asks, ``review.py`` has the question and reads the answer.
Source: pkg/apiserver/conversion/webhook_converter.go of k8s.io/apiextensions-apiserver.
"""
