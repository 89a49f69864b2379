"""Server-side apply as upstream's structured-merge-diff does it. Pure.

Start with ``managers.py`` (who manages what) and ``track.py`` (what a write makes of it). They
stand on ``fieldset.py`` (sets of fields), ``shape.py`` (how the fields of a type merge), and on
one file for each walk over objects: ``compare``, ``merge``, ``prune``, ``check``.

Source: sigs.k8s.io/structured-merge-diff v6 and k8s.io/apimachinery/pkg/util/managedfields.
"""
