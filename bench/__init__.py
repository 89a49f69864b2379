"""Benchmarks: how much podwire costs beside a peer that is measured in the same run.

``bin/bench NAME`` runs ``bench/NAME.py``. The benchmarks import the rooms and the tests' helpers;
nothing imports them. Start reading at ``proxy``, with ``ratios`` beside it.
"""
