"""The client as a program that works in any folder: a runtime's folder of plugins, mostly.

Both clients have to know their interpreter and their plugin, for the time when there is no server:
``put_client`` writes the paths into its copy. Both get a home where they can.

A home is a folder that Python takes for its own library, and that has nothing but the client in the
place of the package ``encodings``, which Python imports before all else. So the client has its
answer, and ends, before Python would have read its real library, made its streams, and read and
compiled the script: a fifth of its time. Which library is Python's is told by pyvenv.cfg beside the
interpreter, and a file os.py in it (PEP 405, Modules/getpath.py). Another version of Python has
another folder for its library, finds none here, takes the one it was built with, and runs the
script: the same client, or what the C client executes where there is no server, the plugin.

In the home is also an image of the plugin (``cni_plugin.image``), from which either client becomes
the plugin in a fraction of the time that importing it takes.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from contextlib import suppress
from importlib.util import MAGIC_NUMBER
from marshal import dumps
from pathlib import Path

from cni_plugin.image.file import ImageError, built, fits
from cni_plugin.linux.files import put, put_link

logger = logging.getLogger(__name__)
PROGRAM = "podwire-cni"
HOME = f".{PROGRAM}"  # beside the program
IMAGE = "plugin.image"  # in the home
_PACKAGE = Path(__file__).resolve().parents[1]
_PLUGIN = _PACKAGE / "__main__.py"
_OWN_PLACE = 'INTERPRETER = b""\nPLUGIN = b""\nIMAGE = b""\n'
_PYTHON = "/usr/bin/python3"
# What may stand in a first line of 127 bytes (BINPRM_BUF_SIZE in the kernel before Linux 5.1),
# with two before it and four behind it.
_SHORT_AND_PLAIN = re.compile(r"[!-~]{1,120}")
_MARK, _LONGEST_PATH = 16, 1024  # struct slot in client/podwire_cni.c
_PYC_HEADER = MAGIC_NUMBER + bytes(12)  # PEP 552; there is no source to compare it with


def c_client() -> Path:
    """The C client as it was built: beside its source in a wheel, in ``build`` in a checkout."""
    packaged = _PACKAGE / "client" / PROGRAM
    return packaged if packaged.exists() else _PACKAGE.parent / "build/client" / PROGRAM


def python_client() -> Path:
    """The text of the Python client: a module of a wheel's package, a program of a checkout."""
    packaged = _PACKAGE / "client/podwire_cni.py"
    return packaged if packaged.exists() else _PACKAGE.parent / "bin" / PROGRAM


def put_client(program: Path) -> None:
    """Put the client where a runtime looks for it: the C client if it was built."""
    if (built := c_client()).exists():
        put_c_client(program, built)
    else:
        put_python_client(program)


def put_c_client(program: Path, built: Path) -> None:
    """Put the C client there, and its home; fill its slots with the interpreter and the plugin."""
    home = _home(program)
    if home is not None:
        _furnish(home, _text(home))
    python = sys.executable if home is None else str(home / "python3")
    binary = built.read_bytes()
    for mark, path in (("interpreter", python), ("plugin", str(_PLUGIN))):
        binary = _fill(binary, f"@{mark}@".encode(), os.fsencode(path))
    put(program, binary, 0o755)


def _fill(binary: bytes, mark: bytes, path: bytes) -> bytes:
    """Write ``path`` into the slot behind ``mark``; ``struct slot`` in podwire_cni.c is its layout.

    Raises ValueError for a path that is too long, or for a binary without the slot.
    """
    if len(path) >= _LONGEST_PATH:
        raise ValueError(f"{os.fsdecode(path)}: a path has at most {_LONGEST_PATH - 1} bytes")
    begin = binary.index(mark.ljust(_MARK, b"\0")) + _MARK
    return binary[:begin] + path.ljust(_LONGEST_PATH, b"\0") + binary[begin + _LONGEST_PATH :]


def put_python_client(program: Path) -> None:
    """Put the Python client there, and its home beside it."""
    home = _home(program)
    text = _text(home)
    if home is not None:
        _furnish(home, text)
        text = text.replace(_PYTHON, str(home / "python3"), 1)
    put(program, text.encode(), 0o755)


def _home(program: Path) -> Path | None:
    """Return the home of a program; None if a first line cannot name the interpreter in it."""
    home = program.parent.resolve() / HOME
    return home if _SHORT_AND_PLAIN.fullmatch(str(home / "python3")) else None


def _furnish(home: Path, text: str) -> None:
    library = home / f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
    code = compile(text, PROGRAM, "exec", dont_inherit=True, optimize=2)  # 2: no docstrings
    put(home / IMAGE, _image(), 0o644)
    put(library / "encodings/__init__.pyc", _PYC_HEADER + dumps(code), 0o644)
    (library / "lib-dynload").mkdir(exist_ok=True)  # Python complains where there is none
    put(library / "os.py", b"", 0o644)
    put(home / "pyvenv.cfg", f"home = {home}\n".encode(), 0o644)
    put_link(home / "python3", _interpreter())


def _interpreter() -> Path:
    """Return the interpreter that runs this, if possible by the name that outlives an upgrade."""
    own = Path(sys.executable).resolve()
    return Path(_PYTHON) if Path(_PYTHON).resolve() == own else own


def _image() -> bytes:
    """Return the plugin's image, empty if there can be none. It is kept beside the C client."""
    kept = c_client().with_name(IMAGE)
    try:
        if kept.exists() and fits(data := kept.read_bytes()):
            return data
        data = built()
        with suppress(OSError):  # a package may not be ours to write
            put(kept, data, 0o644)
    except ImageError as err:
        logger.warning("%s; calls without a server take longer", err)
        return b""
    return data


def _text(home: Path | None) -> str:
    """Return the text of the Python client with the paths that it has to know."""
    client = python_client()
    text = client.read_text()
    if not text.startswith(f"#!{_PYTHON} ") or _OWN_PLACE not in text:
        raise RuntimeError(f"{client} does not begin with {_PYTHON}, or names a place")
    image = str(home / IMAGE) if home else ""
    paths = {"INTERPRETER": sys.executable, "PLUGIN": str(_PLUGIN), "IMAGE": image}
    own = "".join(f"{name} = {os.fsencode(path)!r}\n" for name, path in paths.items())
    return text.replace(_OWN_PLACE, own, 1)


def _put_into_checkout(folder: Path) -> None:
    """Put the C client, if it was built, and a home into the checkout's own folder."""
    if (built := c_client()).exists():
        put_c_client(folder / PROGRAM, built)
    elif home := _home(folder / PROGRAM):
        _furnish(home, _text(home))


if __name__ == "__main__":  # bin/compile
    _put_into_checkout(Path(sys.argv[1]))
