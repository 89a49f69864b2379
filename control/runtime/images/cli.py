"""``podwire image``: pulls, builds, imports, lists and removes images of this machine's nodes."""

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import NoReturn

import click

from control.linux.errors import cause
from control.runtime.images import names, tools
from control.runtime.images.pull import MOST_BYTES, PullError, PullOptions
from control.runtime.images.pull import pull as pull_image
from control.runtime.images.skopeo import Access
from control.runtime.images.store import Image, ImageError, ImageStore

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
_archive_option = click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write an OCI archive, which other tools read too, and import nothing.",
)


@click.group()
def main() -> None:
    """Pull, build, import, list and remove the images of Pods."""


@main.command("import")
@click.argument("name")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@_folder_option
@_output_option
def import_(name: str, source: Path, image_dir: Path, output: str) -> None:
    """Import SOURCE under NAME: a root folder, an OCI layout, or a `docker save` archive."""
    try:
        image = ImageStore(image_dir).add(name, source)
    except ImageError as err:
        _fail(str(err))
    if output == "json":
        click.echo(json.dumps(_row(image), indent=2))
    else:
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
@_archive_option
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
        return click.echo(json.dumps(_row(image) | {"digest": pulled.digest}, indent=2))
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
    """List the images: a row for each name, several names of one image with its ID."""
    images = ImageStore(image_dir).list()
    if output == "json":
        click.echo(json.dumps([_row(image) for image in images], indent=2))
        return
    width = max((len(image.name) for image in images), default=4)
    click.echo(f"{'NAME':<{width}}   {'ID':<12}   {'SIZE':>8}")
    for image in images:
        click.echo(f"{image.name:<{width}}   {image.id[7:19]}   {image.size / 1e6:5.1f} MB")


def _row(image: Image) -> dict[str, object]:
    return {"name": image.name, "id": image.id, "size": image.size}


@main.command()
@click.argument("references", metavar="NAMES...", nargs=-1, required=True)
@_folder_option
@_output_option
def remove(references: tuple[str, ...], image_dir: Path, output: str) -> None:
    """Remove images by their names; a missing one is no error.

    An image with several names goes with the last of them.
    """
    store, rows = ImageStore(image_dir), []
    for name in references:
        try:
            existed = store.remove(name)
        except ImageError as err:
            _fail(str(err))
        except OSError as err:
            _fail(f"image {name}: cannot be removed: {cause(err)}")
        rows.append({"name": names.normalize(name), "removed": existed})
        if not existed:
            click.echo(f"{name}: no such image", err=True)
    if output == "json":
        click.echo(json.dumps(rows, indent=2))


@main.command("make-tools")
@click.option(
    "--busybox",
    type=click.Path(path_type=Path, dir_okay=False),
    default=_BUSYBOX,
    show_default=True,
    help="A statically linked busybox.",
)
@_archive_option
@_folder_option
def make_tools(busybox: Path, output: Path | None, image_dir: Path) -> None:
    """Make the image podwire/tools from busybox."""
    try:
        if output:
            click.echo(f"{tools.write(output, busybox)}  {output}")
            return
        image = tools.make(ImageStore(image_dir), busybox)
    except tools.BusyboxError as err:
        _fail(f"image {tools.NAME}: {err}; install Debian's busybox-static, or name --busybox")
    except OSError as err:
        _fail(f"image {tools.NAME}: cannot be made: {cause(err)}")
    click.echo(image.name)


@main.command()
@click.option(
    "--listen",
    metavar="ADDRESS:PORT",
    default="127.0.0.1:10246",
    show_default=True,
    help="Where to serve, without a password: an address of loopback.",
)
@_folder_option
@click.option(
    "--additional-image-dir",
    type=click.Path(path_type=Path, file_okay=False),
    multiple=True,
    help="Folder of images that --image-dir has not; repeatable.",
)
@click.option(
    "--pull-into",
    default="",
    metavar="ENDPOINT",
    help="Let a CRI runtime pull what --image-dir has at once, not only when a Pod wants it.",
)
@click.option("--pull", multiple=True, metavar="NAME", help="Likewise this image; repeatable.")
@click.option("-v", "--verbose", is_flag=True)
def serve(
    listen: str,
    image_dir: Path,
    additional_image_dir: tuple[Path, ...],
    pull_into: str,
    pull: tuple[str, ...],
    verbose: bool,
) -> None:
    """Serve the images to a container runtime on this machine, as a read-only registry."""
    from control.client.process import run

    host, port = _address(listen)
    store = ImageStore(image_dir, *additional_image_dir)
    run(_serve(store, host, port, (pull_into, image_dir, pull)), verbose=verbose)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        address = None
    if address is None or not address.is_loopback or not port.isdecimal():
        raise click.UsageError(f"--listen {text}: want an address of loopback, 127.0.0.1:10246")
    return str(address), int(port)


async def _serve(
    store: ImageStore, host: str, port: int, preloaded: tuple[str, Path, tuple[str, ...]]
) -> None:
    from control.runtime.images.serve import serving

    endpoint, folder, always = preloaded
    try:
        async with serving(store, host, port):
            if endpoint:
                # Here, because gRPC takes 5 MB that a registry without it does not need.
                from control.runtime.images.preload import preload

                await preload(endpoint, folder, always)
            await asyncio.Event().wait()
    except (OSError, ValueError) as err:
        _fail(f"serve: {err}")


def _fail(text: str) -> NoReturn:
    click.echo(f"podwire image: {text}", err=True)
    sys.exit(1)
