"""Reset: what fails is told, and does not take away what the next run needs."""

import fcntl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import pytest
from click.testing import CliRunner

from control.install import cli
from control.install.alone import alone
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


class Noted(Progress):
    """Keeps the lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = Queue[str]()

    def note(self, text: str) -> None:
        self.lines.put(text)


def is_locked(path: Path) -> bool:
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_reset_waits_for_an_installation(layout: Layout):
    noted = Noted()
    with ThreadPoolExecutor() as pool:
        with alone(layout, Progress(quiet=True)):
            waiting = pool.submit(reset, layout, WORKS, noted)
            assert str(layout.lock) in noted.lines.get(timeout=60)
            assert layout.node_file.exists()
        assert "Pods" in waiting.result(timeout=60)
    assert not layout.state.exists()


def test_who_waited_for_a_reset_locks_the_file_that_is_there_then(layout: Layout):
    """Not the one that the reset has removed: somebody else would find another, and begin."""
    noted, quiet = Noted(), Progress(quiet=True)

    def install() -> bool:
        with alone(layout, noted):
            return is_locked(layout.lock)

    with ThreadPoolExecutor() as pool:
        with alone(layout, quiet):
            waiting = pool.submit(install)
            assert str(layout.lock) in noted.lines.get(timeout=60)
            layout.lock.unlink()
            layout.state.joinpath("agent/pki").rmdir()
            layout.state.joinpath("agent").rmdir()
            layout.state.rmdir()
        assert waiting.result(timeout=60)


def test_a_reset_leaves_the_lock_of_who_comes_after_it(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
):
    rmdir = Path.rmdir

    def come_first(folder: Path) -> None:
        layout.lock.touch()
        rmdir(folder)

    monkeypatch.setattr(Path, "rmdir", come_first)
    assert str(layout.state) in reset(layout, WORKS, Progress(quiet=True))
    assert list(layout.state.iterdir()) == [layout.lock]


def test_links_of_dynamic_users_are_removed_and_nothing_behind_them(layout: Layout, tmp_path: Path):
    behind = tmp_path / "elsewhere"
    behind.mkdir()
    (layout.state / "dns").symlink_to(behind)
    (layout.state / "due").touch()
    reset(layout, WORKS, Progress(quiet=True))
    assert behind.exists() and not layout.state.exists()
