"""The client as a program that works in any folder: a runtime's folder of plugins, mostly.

The C client is that as it is built. The Python client has to know its interpreter and its plugin,
and where it can it has a home.

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
_ROOT = Path(__file__).resolve().parents[2]
_PYTHON_CLIENT, _C_CLIENT = _ROOT / "bin" / PROGRAM, _ROOT / "build" / PROGRAM
_OWN_PLACE = 'INTERPRETER = b""\nPLUGIN = b""\n'
_PYTHON = "/usr/bin/python3"
# What may stand in a first line of 127 bytes (BINPRM_BUF_SIZE in the kernel before Linux 5.1),
# with two before it and four behind it.
_SHORT_AND_PLAIN = re.compile(r"[!-~]{1,120}")
_PYC_HEADER = MAGIC_NUMBER + bytes(12)  # PEP 552; there is no source to compare it with


def client_program() -> Path:
    """The program that a runtime on this machine should execute: the C client where it is built."""
    return _C_CLIENT if _C_CLIENT.exists() else _PYTHON_CLIENT


def put_client(program: Path) -> None:
    """Put the client where a runtime looks for it."""
    if _C_CLIENT.exists():
        put(program, _C_CLIENT.read_bytes(), 0o755)
    else:
        put_python_client(program)


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
    text = _PYTHON_CLIENT.read_text()
    if not text.startswith(f"#!{_PYTHON} ") or _OWN_PLACE not in text:
        raise RuntimeError(f"{_PYTHON_CLIENT} does not begin with {_PYTHON}, or names a place")
    plugin = os.fsencode(_ROOT / "cni_plugin/__main__.py")
    own = f"INTERPRETER = {os.fsencode(sys.executable)!r}\nPLUGIN = {plugin!r}\n"
    return text.replace(_OWN_PLACE, own, 1)
