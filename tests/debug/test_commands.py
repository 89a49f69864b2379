"""What all commands have in common, as a user meets it who has made a mistake."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from control.reported import ReportedError
from debug.options import needed_objects, objects
from debug.places import Ground
from lab.main import load
from lab.shared import plain_errors
from proxy.model.errors import KernelRefusedError

COMMANDS = (
    *("flows", "top --once", "drops", "doctor", "drift", "services", "endpoints", "trace a b"),
    *("explain a b", "map topology", "map service web", "map mesh", "snapshot /none/s", "web"),
)


@pytest.mark.parametrize("words", COMMANDS)
def test_a_lab_that_is_not_there_is_an_error_of_one_line(words: str) -> None:
    name, *more = words.split()
    ended = CliRunner().invoke(load(name), [*more, "--name", "nolab"])
    assert isinstance(ended.exception, SystemExit), "a traceback reached the user"
    assert ended.exit_code == 1
    assert ended.output == "Error: no lab nolab; start it with: podwire lab up --name nolab\n"


@pytest.mark.parametrize("error", [ReportedError("why"), KernelRefusedError("why"), OSError("why")])
def test_an_error_of_any_room_is_told_in_words(error: Exception) -> None:
    with pytest.raises(click.ClickException, match="why"), plain_errors():
        raise error


def test_an_api_that_is_not_known_is_said_or_refused(tmp_path: Path) -> None:
    (path := tmp_path / "config").write_text("[]")
    found, unread = Ground((), path), list[str]()
    why = f"the API: kubeconfig {path}: is empty or not a mapping"
    assert (objects(found, unread), unread) == (None, [why])
    with pytest.raises(ReportedError, match="is empty or not a mapping"):
        needed_objects(found)
    assert needed_objects(Ground(())) is None
