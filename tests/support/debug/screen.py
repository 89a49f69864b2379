"""What a terminal shows of a drawing."""

import io

from rich.console import Console, RenderableType


def screen(drawing: RenderableType) -> str:
    """Return the text of a drawing on a wide terminal."""
    out = io.StringIO()
    Console(file=out, width=200).print(drawing)
    return out.getvalue()
