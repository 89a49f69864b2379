"""Carries out ``podwire lab watch``."""

import asyncio
import dataclasses
import json

import click
from rich.console import Console
from rich.live import Live

from lab.shared import need_root, plain_errors, running
from lab.spec import LabSpec
from lab.state import LabDir
from lab.watch.draw import draw
from lab.watch.live import pictures
from lab.watch.picture import Picture


def watch(name: str, *, once: bool, output: str, seconds: float) -> None:
    """Show a lab until Ctrl-C, or once."""
    need_root("only root may look into a lab's machines")
    lab, spec = running(name)
    with plain_errors():
        try:
            asyncio.run(_show(lab, spec, once=once, output=output, seconds=seconds))
        except KeyboardInterrupt:  # the way to end it
            return


async def _show(lab: LabDir, spec: LabSpec, *, once: bool, output: str, seconds: float) -> None:
    console = Console()
    every = pictures(lab, spec, seconds, once=once)
    if output == "json" or once or not console.is_terminal:
        async for picture in every:
            _print(console, picture, output)
            if once:
                break
        return await every.aclose()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        async for picture in every:
            live.update(draw(picture), refresh=True)
    return None


def _print(console: Console, picture: Picture, output: str) -> None:
    if output == "json":
        click.echo(json.dumps(dataclasses.asdict(picture)))
    else:
        console.print(draw(picture), highlight=False)
