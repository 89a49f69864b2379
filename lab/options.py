"""Options of several commands of ``podwire lab``."""

import math
from typing import Any

import click

from lab.completion import complete_lab
from lab.spec import LabSpecError, check_name


class OptionError(click.ClickException):
    """An option has an invalid value; the text names the option."""

    exit_code = 2


class FiniteRange(click.FloatRange):
    """A number in a range; click's takes nan, which no range leaves out."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See ``click.ParamType``."""
        found = super().convert(value, param, ctx)
        return found if math.isfinite(found) else self.fail(f"{value} is no number.", param, ctx)


def _named(_: click.Context, __: click.Parameter, name: str) -> str:
    try:
        return check_name(name)
    except LabSpecError as err:
        raise OptionError(str(err)) from err


def _hand_down(ctx: click.Context, _: click.Parameter, name: str) -> None:
    assert isinstance(ctx.command, click.Group)  # noqa: S101  # only groups have the option
    ctx.default_map = {key: {"name": name} for key in ctx.command.commands} if name else None


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
# ``podwire lab set --name x proxy MODE`` means ``podwire lab set proxy --name x MODE``.
group_name_option = click.option(
    "--name",
    expose_value=False,
    callback=_hand_down,
    shell_complete=complete_lab,
    help="Name of the lab.  [default: lab]",
)
