"""The plugin as one file that starts fast: an image of the objects that importing the plugin makes.

Importing the plugin takes Python 60 ms. Python spends most of it on executing the bodies of
modules: the plugin's own and those of ``dataclasses``, ``typing``, ``pathlib``, ``re``. The outcome
is the same each time: functions, classes, and values that refer to each other. ``__main__.py``
imports the plugin once, walks from its ``_run`` to all objects that it can reach, and writes the
code of a function that makes the same objects again, without an import, in a tenth of the time.

Start to read there. ``writer.py`` walks; ``objects.py`` and ``classes.py`` write one object or
class; ``natives.py`` finds objects that are the interpreter's own; ``program.py`` makes code of
the statements. bin/podwire-cni executes the image. Where no image fits, it executes the plugin.
"""
