"""Admission webhooks: MutatingWebhookConfiguration and ValidatingWebhookConfiguration."""
