"""Kinds that show the stored objects of another kind: a second group or version of it. Pure.

``events.k8s.io/v1`` shows the Events of ``v1``; one object is stored, and both read and write it.
A *form* is such a kind. What its clients send is read, completed by its own defaults and tracked by
its own fields; then it is kept as the stored kind, which is admitted, validated and stored. What
they get is shown from there (``control/server/state/views.py``).

To add a form:

1. Write a module here with two functions: ``show`` makes of a stored object one of the form,
   ``keep`` the other way. Both take and return decoded objects that they do not change, set
   ``apiVersion``, and may leave nothing out: ``keep(show(wire)) == wire`` but for zeros, which
   ``convert.py`` sets and removes as each version's types say.
2. Add a row to ``FORMS`` in ``control/api/kinds.py``: a ``Kind`` with the model of the stored kind
   and ``form=Form(STORED, show, keep)``. Its types have to be in ``messages.txt`` and
   ``definitions.txt``.
3. If its defaults or validation differ, add a row to ``_FORM_RULES`` in ``control/api/rules.py``
   (``default`` takes the form, all others the stored kind); without it only metadata has rules.
4. Fields for selectors, if it has any: ``_SELECTABLE`` in ``control/server/verbs/select.py``, by
   the form's own names. Columns are the stored kind's.
5. Its row in ``docs/kinds.md``, and a case in ``tests/control/server/verbs/test_forms.py``.
"""
