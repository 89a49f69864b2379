"""Options of several commands of ``podwire lab``."""

import click

from lab.completion import complete_lab
from lab.spec import LabSpecError, check_name


class OptionError(click.ClickException):
    """An option has an invalid value; the text names the option."""

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
    help="Name of the lab.",
)
output_option = click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True
)
