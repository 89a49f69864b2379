"""Ask others about writes: admission webhooks, and policies in CEL.

Start with ``gate.py`` (is anybody asked?) and ``reviews.py`` (who), then ``rules.py`` (what
matches). The webhooks are in ``hooks``, the policies in ``policies``.

Source: k8s.io/apiserver/pkg/admission/plugin.
"""
