"""``podwire image``: builds, imports, lists and removes the images of this machine's nodes."""

import json
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import click

from control.linux.errors import cause
from control.runtime.images import names, tools
from control.runtime.images.store import ImageError, ImageStore

_FOLDER = Path("/var/lib/podwire/images")
_BUSYBOX = Path("/bin/busybox")

_folder_option = click.option(
    "--image-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=_FOLDER,
    show_default=True,
    help="Folder of the images.",
)


@click.group()
def main() -> None:
    """Build, import, list and remove the images of Pods."""


@main.command("import")
@click.argument("name")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@_folder_option
def import_(name: str, source: Path, image_dir: Path) -> None:
    """Import SOURCE under NAME: a root folder, an OCI layout, or a `docker save` archive."""
    try:
        image = ImageStore(image_dir).add(name, source)
    except ImageError as err:
        _fail(str(err))
    click.echo(f"{image.name}  {image.id[:19]}  {image.size / 1e6:.1f} MB")


@main.command()
@click.argument("name")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--config",
    "settings",
    type=click.Path(dir_okay=False, path_type=Path),
    help="YAML: entrypoint, command, environment, directory, user, stopSignal, labels.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write an OCI archive, which other tools read too, and import nothing.",
)
@_folder_option
def build(
    name: str, folder: Path, settings: Path | None, output: Path | None, image_dir: Path
) -> None:
    """Build the image NAME of a root FOLDER and a configuration, and import it."""
    from control.runtime.images import build as builder

    try:
        full = names.normalize(name)
        config = builder.read_config(settings) if settings else builder.BuildConfig()
        with tempfile.TemporaryDirectory(prefix="podwire-build-") as temporary:
            archive = output or Path(temporary) / "image.tar"
            found = builder.build(folder, config, full, archive)
            if output is None:
                ImageStore(image_dir).add(name, archive)
    except (builder.BuildError, ImageError, names.ImageNameError) as err:
        _fail(str(err))
    except OSError as err:
        _fail(f"image {name}: cannot be built: {cause(err)}")
    click.echo(f"{full}  {found[:19]}" + (f"  {output}" if output else ""))


@main.command("list")
@_folder_option
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
def list_(image_dir: Path, output: str) -> None:
    """List the images."""
    images = ImageStore(image_dir).list()
    if output == "json":
        rows = [{"name": image.name, "id": image.id, "size": image.size} for image in images]
        click.echo(json.dumps(rows, indent=2))
        return
    width = max((len(image.name) for image in images), default=4)
    click.echo(f"{'NAME':<{width}}   {'ID':<12}   {'SIZE':>8}")
    for image in images:
        click.echo(f"{image.name:<{width}}   {image.id[7:19]}   {image.size / 1e6:5.1f} MB")


@main.command()
@click.argument("names", nargs=-1, required=True)
@_folder_option
def remove(names: tuple[str, ...], image_dir: Path) -> None:
    """Remove images; a missing one is no error."""
    store = ImageStore(image_dir)
    for name in names:
        try:
            existed = store.remove(name)
        except ImageError as err:
            _fail(str(err))
        except OSError as err:
            _fail(f"image {name}: cannot be removed: {cause(err)}")
        if not existed:
            click.echo(f"{name}: no such image", err=True)


@main.command("make-tools")
@click.option(
    "--busybox",
    type=click.Path(path_type=Path, dir_okay=False),
    default=_BUSYBOX,
    show_default=True,
    help="A statically linked busybox.",
)
@_folder_option
def make_tools(busybox: Path, image_dir: Path) -> None:
    """Make the image podwire/tools from busybox."""
    try:
        image = tools.make(ImageStore(image_dir), busybox)
    except tools.BusyboxError as err:
        _fail(f"image {tools.NAME}: {err}; install Debian's busybox-static, or name --busybox")
    except OSError as err:
        _fail(f"image {tools.NAME}: cannot be made: {cause(err)}")
    click.echo(image.name)


def _fail(text: str) -> NoReturn:
    click.echo(f"podwire image: {text}", err=True)
    sys.exit(1)
