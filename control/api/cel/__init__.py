"""The Common Expression Language as Kubernetes has it: rules in definitions, and policies. Pure.

An expression is parsed (``lex.py``, ``parse.py``), its types are checked (``check.py``), and it
becomes a function of its variables (``build.py``), which counts what it costs (``meter.py``) in
upstream's units and is cut off. ``program.py`` is the way in. The functions that an expression may
call are tables in ``functions``.

Nothing here is imported before there is an expression. Sources: github.com/google/cel-spec,
k8s.io/apiserver/pkg/cel.
"""
