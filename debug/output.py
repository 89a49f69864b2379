"""How all commands write what they found, of which others have chosen the words.

A Pod names its own links, and whoever wrote a rule its comment; files of snapshots and traces come
from elsewhere. A terminal obeys some signs, and no picture may have them (XML 1.0, section 2.2).
"""

import re
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, tostring

import click
import msgspec

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.segment import Segments

# Of controls all but tab and line feed; what is not shown, or turns the direction of what is;
# surrogates, which no encoding writes.
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def plain(text: str) -> str:
    r"""Return a text with \u001b for the sign that it names, as JSON has it: it steers nothing."""
    return _STEERING.sub(lambda found: _escaped(found[0]), text)


def _escaped(sign: str) -> str:
    units = sign.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def defect(err: BaseException) -> str:
    """Say that an error is none of the cluster's."""
    return f"a defect of podwire, please report it: {type(err).__name__}: {err}"


def with_port(host: str, port: int | str | None) -> str:
    """Return an end: ``10.0.0.1:80``, ``[fd00::1]:80``; the address alone without a port."""
    if port is None:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def say(text: str, *, err: bool = False) -> None:
    """Print lines for people."""
    click.echo(plain(text), err=err)


def say_json(value: Any, *, line: bool = False) -> None:
    """Print a document for programs; of a stream, one ``line`` each."""
    encoded = msgspec.json.encode(value)
    say((encoded if line else msgspec.json.format(encoded)).decode())


def drawn(console: "Console", drawing: "RenderableType") -> "Segments":
    """Return a drawing for this console."""
    from rich.segment import Segment, Segments  # which takes longer than all else here

    found = console.render(drawing, console.options)
    return Segments([Segment(plain(text), style, control) for text, style, control in found])


def xml(root: Element) -> str:
    """Return a picture as text."""
    return _NO_XML.sub("\ufffd", tostring(root, encoding="unicode"))
