"""Reset: what fails is told, and does not take away what the next run needs."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from control.install import cli
from control.install.layout import InstallError, Layout, Program
from control.install.progress import Progress
from control.install.reset import reset
from control.install.settings import NodeSettings, check, write

FAILS, WORKS = Program("/bin/false"), Program("/bin/true")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """The files of a node, whose units are gone already."""
    made = Layout(tmp_path)
    data = {
        "node": {"name": "n1", "ips": ["192.0.2.2"]},
        "server": "https://192.0.2.1:6443",
        "cluster": {},
    }
    write(made.node_file, check(NodeSettings, data, "test"))
    made.node_pki.mkdir(parents=True)
    return made


def test_a_reset_that_failed_may_be_repeated(layout: Layout):
    quiet = Progress(quiet=True)
    for _ in range(2):
        with pytest.raises(InstallError) as caught:
            reset(layout, FAILS, quiet)
        said = str(caught.value)
        assert all(part in said for part in ("podwire agent", "podwire proxy", "podwire cni"))
        assert layout.node_file.exists()
    assert "Pods" in reset(layout, WORKS, quiet)
    assert not layout.config.exists() and not layout.state.exists()
    assert reset(layout, FAILS, quiet) == ()


def test_nothing_is_removed_without_an_answer(layout: Layout, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cli, "_LAYOUT", layout)
    for answer in ("", "n\n"):
        done = CliRunner().invoke(cli.reset, ["-o", "json"], input=answer)
        assert (done.exit_code, done.stdout) == (1, "")
        assert "Aborted!" in done.stderr
    assert layout.node_file.exists()
