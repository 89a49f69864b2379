"""Carries out ``podwire lab save`` and ``restore``."""

import dataclasses
import sqlite3
import tempfile
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from control.pki import Pair
from control.runtime.images.store import ImageStore
from control.store.base import StoreError
from lab import needs, resume
from lab.credentials import write_kubeconfig
from lab.down import remove
from lab.folders import make_folders
from lab.parts import machines
from lab.report import Steps
from lab.saved import head, members
from lab.saved.read import SavedLabError, read_head, unpack
from lab.saved.write import Saved
from lab.saved.write import save as write
from lab.shared import absent, need_root, plain_errors, staying_up
from lab.spec import ETCD, LabSpec, LabSpecError, check_name
from lab.state import IMAGES, ROOT, Keeper, LabDir, lab_dir, locked
from lab.status import named
from lab.up import LabExistsError, ensure_tools

_SHOWN = 5
# A process that cannot be the lab's: of no run of any host.
_NOBODY = Keeper(1, 0, "restored")


def save(name: str, file: Path) -> None:
    """Write a lab into a file."""
    need_root()
    lab = lab_dir(name)
    with plain_errors():
        keeper, spec = lab.keeper(), lab.spec()
        if spec is None or keeper is None:
            raise click.ClickException(absent(name))
        try:
            with lab.changing():
                saved = write(lab, spec, file, running=keeper.alive)
        except (sqlite3.Error, StoreError) as err:
            text = f"the store of lab {name} cannot be copied: {err}; see lab logs apiserver"
            raise click.ClickException(text) from err
    _report(name, file, saved)


def _report(name: str, file: Path, saved: Saved) -> None:
    size = file.stat().st_size / 1e6
    click.echo(f"lab {name} is saved in {file}: {saved.files} files, {size:.1f} MB")
    if saved.left_out:
        some = ", ".join(saved.left_out[:_SHOWN])
        click.echo(f"left out are {len(saved.left_out)} sockets and devices: {some}", err=True)


def restore(file: Path, *, replace: bool) -> None:
    """Make and start the lab that a file holds."""
    need_root()
    steps = Steps(Console())
    with plain_errors():
        needs.require()
        found = read_head(file)
        lab = lab_dir(_name(file, found))
        refuse_existing(lab, replace=replace)
        with steps.step("images", animated=False) as say:
            ensure_tools()
            say(require_images(found, ImageStore(IMAGES)))
        with steps.step(f"files of {file}", animated=False):
            spec = install(file, found, lab, replace=replace)
        with locked(), lab.changing(), staying_up(lab):
            resume.resume(lab, spec, steps)
    click.echo(f"lab {lab.name} is up after {steps.elapsed:.1f} s")


def _name(file: Path, found: head.Head) -> str:
    try:
        return check_name(found.name)
    except LabSpecError as err:
        raise SavedLabError(f"{file}: its lab has no valid name: {err}") from err


def refuse_existing(lab: LabDir, *, replace: bool) -> None:
    """Refuse to restore a lab that is there; raises LabExistsError."""
    keeper = lab.keeper()
    if keeper is not None and keeper.alive:
        raise LabExistsError(
            f"lab {lab.name} is up; end it with: podwire lab stop{named(lab)}; then restore it "
            "with --replace"
        )
    if lab.path.exists() and not replace:
        raise LabExistsError(
            f"lab {lab.name} is there; start it with: podwire lab start{named(lab)}; or remove it: "
            "restore --replace"
        )


def require_images(found: head.Head, store: ImageStore) -> str:
    """Return what to say about a lab's images; raises SavedLabError for absent ones."""
    there = {image.name: image.id for image in store.list()}
    if missing := [image.name for image in found.images if image.name not in there]:
        raise SavedLabError(
            f"the lab's Pods use images that this machine has not: {', '.join(missing)}; import "
            "them with: podwire image import NAME SOURCE"
        )
    others = [image.name for image in found.images if there[image.name] != image.id]
    return f"images; others than at the save: {', '.join(others)}" if others else "images"


def install(file: Path, found: head.Head, lab: LabDir, *, replace: bool) -> LabSpec:
    """Put a saved lab's files in their place, all or none; raises SavedLabError, OSError."""
    ROOT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".restore-", dir=ROOT.parent) as folder:
        spec = unpack(file, Path(folder))
        if spec.name != lab.name:
            raise SavedLabError(f"{file}: it is of {lab.name}, and has files of {spec.name}")
        fresh = LabDir(Path(folder) / head.FOLDER)
        spec = dataclasses.replace(spec, stopped=True)
        _complete(fresh, spec, found.port)
        if spec.store == ETCD:
            _fill(fresh, spec)
        with locked():
            refuse_existing(lab, replace=replace)
            remove(lab)
            fresh.path.rename(lab.path)
    return spec


def _fill(lab: LabDir, spec: LabSpec) -> None:
    """Put the saved store into etcd's members; raises SavedLabError, OSError."""
    try:
        members.from_file(lab, spec)
    except StoreError as err:
        raise SavedLabError(f"the saved store cannot be put into etcd: {err}") from err


def _complete(lab: LabDir, spec: LabSpec, port: int) -> None:
    """Make what is not saved: a kubeconfig, empty logs, and a keeper that does not run."""
    lab.path.chmod(0o711)
    for private in ("logs", "machines", "pki"):
        (lab.path / private).mkdir(exist_ok=True)
        (lab.path / private).chmod(0o700)
    for machine in machines(spec):
        make_folders(lab, machine)
    lab.write_spec(spec)
    try:
        authority = Pair.load(lab.path / "pki", "ca")
        write_kubeconfig(lab, spec, authority, f"https://127.0.0.1:{port}")
    except ValueError as err:
        raise SavedLabError(f"pki: {err}") from err
    lab.write("keeper.json", asdict(_NOBODY))
