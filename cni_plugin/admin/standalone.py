"""The client as a program that works in any folder: a runtime's folder of plugins, mostly.

Both clients have to know their interpreter and their plugin, for the time when there is no server:
``put_client`` writes both paths into its copy. The Python client also gets a home where it can.

A home is a folder that Python takes for its own library, and that has nothing but the client in the
place of the package ``encodings``, which Python imports before all else. So the client has its
answer, and ends, before Python would have read its real library, made its streams, and read and
compiled the script: a fifth of its time. Which library is Python's is told by pyvenv.cfg beside the
interpreter, and a file os.py in it (PEP 405, Modules/getpath.py). Another version of Python has
another folder for its library, finds none here, takes the one it was built with, and runs the
script, which is the same client.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from importlib.util import MAGIC_NUMBER
from marshal import dumps
from pathlib import Path

from cni_plugin.linux.files import put

PROGRAM = "podwire-cni"
HOME = f".{PROGRAM}"  # beside the program
_PACKAGE = Path(__file__).resolve().parents[1]
_PLUGIN = _PACKAGE / "__main__.py"
_OWN_PLACE = 'INTERPRETER = b""\nPLUGIN = b""\n'
_PYTHON = "/usr/bin/python3"
# What may stand in a first line of 127 bytes (BINPRM_BUF_SIZE in the kernel before Linux 5.1),
# with two before it and four behind it.
_SHORT_AND_PLAIN = re.compile(r"[!-~]{1,120}")
_MARK, _LONGEST_PATH = 16, 1024  # struct slot in client/podwire_cni.c
_PYC_HEADER = MAGIC_NUMBER + bytes(12)  # PEP 552; there is no source to compare it with


def c_client() -> Path:
    """The C client as it was built: beside its source in a wheel, in ``build`` in a checkout."""
    packaged = _PACKAGE / "client" / PROGRAM
    return packaged if packaged.exists() else _PACKAGE.parent / "build" / PROGRAM


def python_client() -> Path:
    """The text of the Python client: a module of a wheel's package, a program of a checkout."""
    packaged = _PACKAGE / "client/podwire_cni.py"
    return packaged if packaged.exists() else _PACKAGE.parent / "bin" / PROGRAM


def put_client(program: Path) -> None:
    """Put the client where a runtime looks for it: the C client if it was built."""
    if (built := c_client()).exists():
        put(program, _addressed(built.read_bytes()), 0o755)
    else:
        put_python_client(program)


def _addressed(binary: bytes) -> bytes:
    """The C client with the paths of this interpreter and this plugin in its slots."""
    for mark, path in (("interpreter", sys.executable), ("plugin", str(_PLUGIN))):
        binary = _fill(binary, f"@{mark}@".encode(), os.fsencode(path))
    return binary


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
    text, home = _text(), program.parent.resolve() / HOME
    python = str(home / "python3")
    if _SHORT_AND_PLAIN.fullmatch(python):
        _furnish(home, text)
        text = text.replace(_PYTHON, python, 1)
    put(program, text.encode(), 0o755)


def _furnish(home: Path, text: str) -> None:
    library = home / f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
    code = compile(text, PROGRAM, "exec", dont_inherit=True, optimize=2)  # 2: no docstrings
    put(library / "encodings/__init__.pyc", _PYC_HEADER + dumps(code), 0o644)
    (library / "lib-dynload").mkdir(exist_ok=True)  # Python complains where there is none
    put(library / "os.py", b"", 0o644)
    put(home / "pyvenv.cfg", f"home = {home}\n".encode(), 0o644)
    with suppress(FileExistsError):
        (home / "python3").symlink_to(_PYTHON)


def _text() -> str:
    client = python_client()
    text = client.read_text()
    if not text.startswith(f"#!{_PYTHON} ") or _OWN_PLACE not in text:
        raise RuntimeError(f"{client} does not begin with {_PYTHON}, or names a place")
    plugin = os.fsencode(_PLUGIN)
    own = f"INTERPRETER = {os.fsencode(sys.executable)!r}\nPLUGIN = {plugin!r}\n"
    return text.replace(_OWN_PLACE, own, 1)
