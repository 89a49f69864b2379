"""Writes an image: ``python3 -IS cni_plugin/image/__main__.py FILE`` (``file.py`` executes it).

The file begins with the interpreter's version: another interpreter may read nothing else of it.
Then follow, marshalled, the files that the plugin is made of (path, time of change, size),
``sys.path``, and the code of a function that returns the plugin's ``_run``.
"""

import marshal
import sys
from pathlib import Path

if not __package__:  # executed by its path
    sys.path.append(str(Path(__file__).parents[2]))

from cni_plugin import __main__ as plugin
from cni_plugin.image.program import Program
from cni_plugin.image.writer import Writer
from cni_plugin.spec.section import prepare


def main(target: Path) -> None:
    """Write the image. Raises CannotWriteError."""
    prepare()
    first = Writer(Program())
    first.walk(plugin._run)
    code = Writer(Program(), first.named).written(plugin._run)
    data = marshal.dumps((_sources(), sys.path, code))
    target.write_bytes(sys.version.encode() + b"\0" + data)


def _sources() -> list[tuple[str, int, int]]:
    """Return the files that the plugin was imported from: path, time of change in ns, size."""
    modules = [module for name, module in sys.modules.items() if name.startswith("cni_plugin.")]
    paths = sorted(module.__file__ for module in modules if module.__file__)
    states = [(path, Path(path).stat()) for path in paths]
    return [(path, state.st_mtime_ns, state.st_size) for path, state in states]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
