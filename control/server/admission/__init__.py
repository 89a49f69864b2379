"""Ask others about writes: admission webhooks, and policies in CEL.

Start with ``gate.py`` (what is asked about a write), then ``rules.py`` (what matches). The webhooks
are in ``hooks``: ``config.py`` reads them, ``review.py`` writes the question and reads the answer,
``call.py`` sends it, ``ask.py`` decides what the answers mean. The policies are in ``policies``.

Source: k8s.io/apiserver/pkg/admission/plugin.
"""
