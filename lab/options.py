"""Options that several commands of ``podwire lab`` have."""

import click

from lab.completion import complete_lab
from lab.spec import LabSpecError, check_name


class OptionError(click.ClickException):
    """An option's value is none that a lab can have."""

    exit_code = 2


def _named(_: click.Context, __: click.Parameter, name: str) -> str:
    try:
        return check_name(name)
    except LabSpecError as err:
        raise OptionError(str(err)) from err


name_option = click.option(
    "--name",
    default="lab",
    show_default=True,
    callback=_named,
    shell_complete=complete_lab,
    help="Which lab.",
)
output_option = click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True
)
