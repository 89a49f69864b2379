"""The client as one file that works in any folder: a runtime's folder of plugins, mostly.

The C client is that as it is built. The Python client has to know its interpreter and its plugin,
and carries itself compiled: compiling would take most of a millisecond of each of its calls.
"""

from __future__ import annotations

import marshal
import os
import sys
from base64 import b64encode
from importlib.util import MAGIC_NUMBER
from pathlib import Path

PROGRAM = "podwire-cni"
_ROOT = Path(__file__).resolve().parent.parent
_PYTHON_CLIENT, _C_CLIENT = _ROOT / "bin" / PROGRAM, _ROOT / "build" / PROGRAM
_OWN_PLACE = 'INTERPRETER = b""\nPLUGIN = b""\n'
_QUOTES = "'''"
_FILE = """\
{shebang}
# Made of {source}: its text, and the same compiled for the Python that made this file.
# Another Python has another magic number, and compiles the text.
from _frozen_importlib_external import MAGIC_NUMBER
from binascii import a2b_base64
from marshal import loads

TEXT = r{quotes}
{text}
{quotes}
COMPILED = "{compiled}"
exec(loads(a2b_base64(COMPILED)) if MAGIC_NUMBER == {magic!r} else TEXT)
"""


def client_program() -> Path:
    """The program that a runtime on this machine should execute: the C client where it is built."""
    return _C_CLIENT if _C_CLIENT.exists() else _PYTHON_CLIENT


def program_bytes() -> bytes:
    """What to put into a runtime's folder."""
    return _C_CLIENT.read_bytes() if _C_CLIENT.exists() else python_program()


def python_program() -> bytes:
    """The Python client for any folder."""
    shebang, _, text = _text().partition("\n")
    if _QUOTES in text:
        raise RuntimeError(f"{_PYTHON_CLIENT} has {_QUOTES}, which its copy quotes it with")
    code = compile(text, PROGRAM, "exec", dont_inherit=True, optimize=2)  # 2: no docstrings
    return _FILE.format(
        shebang=shebang,
        source=_PYTHON_CLIENT,
        quotes=_QUOTES,
        text=text,
        compiled=b64encode(marshal.dumps(code)).decode(),
        magic=MAGIC_NUMBER,
    ).encode()


def _text() -> str:
    text = _PYTHON_CLIENT.read_text()
    if _OWN_PLACE not in text:
        raise RuntimeError(f"{_PYTHON_CLIENT} has no lines {_OWN_PLACE!r}")
    plugin = os.fsencode(_ROOT / "cni_plugin/__main__.py")
    own = f"INTERPRETER = {os.fsencode(sys.executable)!r}\nPLUGIN = {plugin!r}\n"
    return text.replace(_OWN_PLACE, own, 1)
