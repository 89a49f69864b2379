"""What the commands of ``podwire lab`` share: root, the running lab, and errors in one line.

It imports little, so that each command imports only what it needs itself.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import click

from control.linux.errors import cause
from control.reported import ReportedError
from lab.options import OptionError
from lab.spec import LabSpec, LabSpecError
from lab.state import LabDir, lab_dir
from proxy.model.errors import ProxyError


@contextmanager
def plain_errors() -> Iterator[None]:
    """Report an error in one line; exit with code 2 for an invalid option, else with 1."""
    try:
        yield
    except LabSpecError as err:
        raise OptionError(str(err)) from err
    except BrokenPipeError:  # the reader of the pipe has ended: click ends quietly
        raise
    except OSError as err:
        raise click.ClickException(cause(err)) from err
    except (ReportedError, ProxyError) as err:
        raise click.ClickException(str(err)) from err


def running(name: str) -> tuple[LabDir, LabSpec]:
    """Return the lab with this name; raises ClickException if it is not up."""
    lab = lab_dir(name)
    keeper, spec = lab.keeper(), lab.spec()
    if keeper is None or spec is None or not keeper.alive:
        raise click.ClickException(
            f"no lab {name} is up; start it with: podwire lab up --name {name}"
        )
    return lab, spec


def need_root(why: str = "a lab is made of namespaces, for which you need root") -> None:
    if os.geteuid() != 0:
        raise click.ClickException(f"{why}: use sudo")


def absent(name: str) -> str:
    """Return what to say of a lab that is not there."""
    return f"no lab {name}; start it with: podwire lab up --name {name}"


@contextmanager
def staying_up(lab: LabDir) -> Iterator[None]:
    """Tell the user that Ctrl-C ends the command but not the running lab."""
    try:
        yield
    except KeyboardInterrupt:
        text = f"interrupted; lab {lab.name} stays up; end it with: podwire lab down --name "
        raise click.ClickException(f"{text}{lab.name}") from None
