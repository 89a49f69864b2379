"""The lab file: one YAML file that says what a lab is, for ``podwire lab up --file``.

``model`` has its fields, ``read`` its text with line numbers, ``plan`` makes a lab's specification
of it and back, ``manifests`` applies objects. Other labs read the same file by ``read`` and
``plan``, which start no process; only ``commands`` knows the running lab.
"""
