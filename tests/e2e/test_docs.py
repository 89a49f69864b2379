"""Every command of README and docs, run as it is written, and its output compared.

``tests/support/docs.py`` says how a page is read. A page's commands run one after the other in one
shell, in a world that the page names:

    checkout   this checkout, in namespaces without a network, on a machine that has no lab
    lab        likewise, and ``podwire lab up`` has been run
    same lab   the lab of all pages that say so: they bother no other, and none bothers them
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.docs import Command, fits, read_page
from tests.support.e2e.harness import CHECKOUT

PAGES = [
    path.relative_to(CHECKOUT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "findings/*.md", "examples/*.md", "vagrant/*.md")
    for path in sorted(CHECKOUT.glob(pattern))
    if path.name != "CHANGELOG.md"
]
READ = {name: read_page((CHECKOUT / name).read_text()) for name in PAGES}
OWN_WORLD = [name for name in PAGES if READ[name].commands and READ[name].world != "same lab"]
UP, DOWN = "podwire lab up --no-demo", "podwire lab down"
WORLDS = ("checkout", "lab", "same lab")

# What a machine keeps for itself: inside, these folders are empty, and vanish with the world.
_PRIVATE = (
    "/run/netns",
    "/run/podwire",
    "/var/lib/cni",
    "/var/lib/podwire",
    "/etc/cni",
    "/opt/cni",
)
_ENTER = """
for folder in {folders}; do mkdir -p $folder; mount -t tmpfs tmpfs $folder; done
ip link set lo up
exec bash --norc -c "$0"
"""
# Each line of standard input names a file with a command, and a file for its output.
_LOOP = """
while read -r -u 9 seconds command output; do
  if [ "$seconds" = 0 ]; then
    . "$command" > "$output" 2>&1 < /dev/null
    echo "$?" >&8
  else
    timeout --signal=INT --kill-after=20 "$seconds" bash "$command" > "$output" 2>&1 < /dev/null
    echo 0 >&8
  fi
done
"""


class Shell:
    """A shell in a world of its own; commands see what those before them set."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        asked, self._ask = os.pipe()
        self._answer, answered = os.pipe()
        enter = _ENTER.format(folders=" ".join(_PRIVATE))
        loop = f"exec 9<&{asked} 8>&{answered}\n{_LOOP}"
        argv = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._process = subprocess.Popen(
            [*argv, "--", "sh", "-ec", enter, loop],
            cwd=CHECKOUT,
            env=os.environ
            | {
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HOME": str(folder),
                "COLUMNS": "120",
                "PAGER": "cat",
            },
            pass_fds=(asked, answered),
            start_new_session=True,
        )
        os.close(asked)
        os.close(answered)
        self._codes = os.fdopen(self._answer)

    def run(self, command: Command) -> tuple[int, list[str]]:
        """The command's exit code, 0 if it was stopped, and the lines that it printed."""
        script, output = self._folder / "command", self._folder / "output"
        script.write_text(f"{command.text}\n")
        os.write(self._ask, f"{command.stop_after} {script} {output}\n".encode())
        code = self._codes.readline()
        assert code, f"line {command.line}: {command.text}: it ended the shell"
        return int(code), output.read_text(errors="replace").splitlines()

    def close(self) -> None:
        """End the shell, and with it all that runs in its world."""
        os.close(self._ask)
        self._codes.close()
        self._process.kill()
        self._process.wait()


@contextmanager
def opened(folder: Path, *, lab: bool) -> Iterator[Shell]:
    """Give a shell in a new world, with a lab if it is to have one."""
    made = Shell(folder)
    try:
        if lab:
            code, printed = made.run(Command(0, UP))
            assert code == 0, printed
        yield made
        if lab:
            code, printed = made.run(Command(0, DOWN))
            assert code == 0, printed
    finally:
        made.close()


@pytest.fixture(scope="class")
def same_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with opened(tmp_path_factory.mktemp("shell"), lab=True) as shell:
        yield shell


@pytest.fixture
def shell(name: str, tmp_path: Path) -> Iterator[Shell]:
    """The shell of a page that has a world of its own."""
    with opened(tmp_path, lab=READ[name].world == "lab") as made:
        yield made


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_read(name: str) -> None:
    assert READ[name].faults == ()
    assert READ[name].world in {"", *WORLDS}


class TestOneLab:
    """Pages of one lab; it is down before another is up, as labs of one name share cgroups."""

    @pytest.mark.parametrize("name", [name for name in PAGES if READ[name].world == "same lab"])
    def test_commands_do_what_the_page_shows(self, name: str, same_lab: Shell) -> None:
        check_commands(same_lab, name)


@pytest.mark.parametrize("name", OWN_WORLD)
def test_commands_do_what_the_page_shows(name: str, shell: Shell) -> None:
    check_commands(shell, name)


def check_commands(shell: Shell, name: str) -> None:
    wrong = [
        said
        for command in READ[name].commands
        if not command.not_run
        for said in complaints(shell, name, command)
    ]
    assert not wrong, "\n\n".join(wrong)


def complaints(shell: Shell, name: str, command: Command) -> Iterator[str]:
    """What is wrong with one command of a page."""
    code, printed = shell.run(command)
    shown = "\n".join(printed[-40:])
    if code:
        yield f"{name}:{command.line}: {command.text}: exit code {code}\n{shown}"
    elif command.output and not fits(command.output, printed):
        expected = "\n".join(command.output)
        yield f"{name}:{command.line}: {command.text}: printed\n{shown}\ninstead of\n{expected}"


def test_few_commands_are_not_run() -> None:
    commands = [command for page in READ.values() for command in page.commands]
    not_run = [command for command in commands if command.not_run]
    assert len(not_run) * 10 <= len(commands), [command.text for command in not_run]
