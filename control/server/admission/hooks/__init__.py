"""Admission webhooks, of MutatingWebhookConfigurations and ValidatingWebhookConfigurations.

Start with ``ask.py``, which asks them; ``config.py`` reads them, ``review.py`` has the question
and the answer.
"""
