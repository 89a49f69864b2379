"""``podwire image``: pulls, builds, imports, lists and removes images of this machine's nodes."""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click

from control.linux.errors import cause
from control.runtime.images import names, tools
from control.runtime.images.pull import MOST_BYTES, PullError, PullOptions
from control.runtime.images.pull import pull as pull_image
from control.runtime.images.skopeo import Access
from control.runtime.images.store import ImageError, ImageStore

_FOLDER = Path("/var/lib/podwire/images")
_BUSYBOX = Path("/bin/busybox")
_CLEAR = "\r\033[K"  # to the line's begin, and erase it

_folder_option = click.option(
    "--image-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=_FOLDER,
    show_default=True,
    help="Folder of the images.",
)
_output_option = click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True
)


@click.group()
def main() -> None:
    """Pull, build, import, list and remove the images of Pods."""


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


@main.command()
@click.argument("reference")
@click.option(
    "--creds", metavar="USER[:PASSWORD]", help="A user of the registry; asks for the password."
)
@click.option(
    "--authfile",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Users of registries, as `skopeo login` writes them.  [default: skopeo's]",
)
@click.option(
    "--cert-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the registry's authority (*.crt), and a client's *.cert and *.key.",
)
@click.option("--tls-verify", type=bool, default=True, show_default=True)
@click.option("--platform", default="", help="OS/ARCH[/VARIANT].  [default: this machine's]")
@click.option(
    "--max-size",
    type=click.IntRange(1),
    default=MOST_BYTES,
    show_default=True,
    help="Most bytes of the image, as the registry has it.",
)
@_folder_option
@_output_option
def pull(
    reference: str,
    creds: str | None,
    authfile: Path | None,
    cert_dir: Path | None,
    tls_verify: bool,
    platform: str,
    max_size: int,
    image_dir: Path,
    output: str,
) -> None:
    """Pull an image from a registry, by skopeo, and import it.

    REFERENCE is [HOST[:PORT]/]NAME[:TAG] or NAME@DIGEST. Of an image for several platforms, one is
    pulled.
    """
    if creds and authfile:
        raise click.UsageError("--creds and --authfile: give one of them")
    if creds and ":" not in creds:
        creds = f"{creds}:{click.prompt('Password', hide_input=True, err=True)}"
    access = Access(creds or "", authfile, cert_dir, tls_verify)
    try:
        with _progress(reference) as say:
            options = PullOptions(platform, access, max_size)
            pulled = pull_image(reference, options, ImageStore(image_dir), say)
    except (PullError, ImageError) as err:
        _fail(str(err))
    except OSError as err:
        _fail(f"image {reference}: cannot be pulled: {cause(err)}")
    image = pulled.image
    if output == "json":
        row = {"name": image.name, "id": image.id, "digest": pulled.digest, "size": image.size}
        return click.echo(json.dumps(row, indent=2))
    return click.echo(f"{image.name}  {image.id[:19]}  {image.size / 1e6:.1f} MB")


@contextmanager
def _progress(what: str) -> Iterator[Callable[[str], None]]:
    """Show words beside a name on one line of a terminal; elsewhere, and at the end, nothing."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    try:
        yield lambda text: click.echo(f"{_CLEAR}{what}: {text}", nl=False, err=True)
    finally:
        click.echo(_CLEAR, nl=False, err=True)


@main.command("list")
@_folder_option
@_output_option
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
