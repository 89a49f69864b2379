"""Options of several commands."""

import click
import pytest
from click.testing import CliRunner

from lab.main import load
from lab.options import FiniteRange


@pytest.mark.parametrize("text", ["nan", "inf", "-nan"])
def test_a_number_is_finite(text: str) -> None:
    """nan is in every range of click's, and no clock reaches it."""
    with pytest.raises(click.BadParameter):
        FiniteRange(0.1).convert(text, None, None)
    assert FiniteRange(0.1).convert("0.5", None, None) == 0.5


@pytest.mark.parametrize(
    "words", ["probe drops --for nan", "capture web --for nan", "top --interval nan"]
)
def test_a_command_refuses_what_is_no_number(words: str) -> None:
    name, *args = words.split()
    done = CliRunner().invoke(load(name), args)
    assert done.exit_code == 2 and "is no number" in done.output, done.output
