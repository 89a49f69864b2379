"""Completion in real shells at terminals."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pexpect
import pytest

from lab.spec import make_spec
from lab.state import ROOT, LabDir

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPTS = CHECKOUT / ".venv" / "bin"
PROMPT = "ready> "
LABS = {"alpha": 1, "beta": 2}
CONTROL = ("apiserver", "scheduler", "controllers", "cloud", "dns", "dns-2")
COMPONENTS = (*CONTROL, "cni", "agent", "proxy", "speaker")
HEAVY = ("aiohttp", "asyncio", "cryptography", "pydantic", "pyroute2", "rich", "control.api")

CASES = [
    ("podwire la", {"lab"}),
    ("podwire lab stat", {"status"}),
    ("podwire lab down --name ", {"alpha", "beta"}),
    ("podwire lab exec --name beta ", {"control", "node1", "node2", "switch"}),
    ("podwire lab exec --name beta node", {"node1", "node2"}),
    ("podwire lab logs --name alpha ", set(COMPONENTS)),
    ("podwire lab logs --name beta agent --machine n", {"node1", "node2"}),
    ("podwire lab up --proxy ", {"iptables", "nftables", "ebpf"}),
    ("podwire lab up --p", {"--pod-cidr", "--proxy"}),
    ("podwire lab exec --name none ", set()),
]  # fmt: skip


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Return the environment with a user's home and PATH."""
    home = tmp_path_factory.mktemp("home")
    kept = {key: text for key, text in os.environ.items() if "COVERAGE" not in key}
    return kept | {"HOME": str(home), "PATH": f"{os.environ['PATH']}:{SCRIPTS}", "TERM": "xterm"}


@pytest.fixture(scope="module")
def entering(tmp_path_factory):
    """Return the words before a command that let it see a machine with two labs."""
    labs = tmp_path_factory.mktemp("labs")
    for name, nodes in LABS.items():
        LabDir(labs / name).create(make_spec(name, nodes=nodes))
    ROOT.mkdir(parents=True, exist_ok=True)
    script = f'mount --bind {labs} {ROOT} && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh"]


class Shell:
    """A shell at a terminal."""

    def __init__(self, argv, environment, *setup):
        self.child = pexpect.spawn(
            argv[0], argv[1:], env=environment, encoding="utf-8", timeout=60, dimensions=(60, 200)
        )
        for line in setup:
            self.child.sendline(line)
        self.child.sendline("echo be''gin")
        self.child.expect("begin")
        self.child.expect(PROMPT)

    def complete(self, typed, candidates):
        """Return what TAB adds to the typed text, or lists below it."""
        self.child.send(typed + "\t")
        seen, deadline = "", time.monotonic() + 60
        while not (candidates and words(plain(seen), typed) >= candidates):
            try:
                seen += self.child.read_nonblocking(4096, timeout=0.2)
            except pexpect.TIMEOUT:
                # zsh lists nothing while keys wait: send the next one only if there is no list.
                if not candidates or time.monotonic() > deadline:
                    break
        self.child.send("@")
        self.child.expect("@")
        found = words(plain(seen + self.child.before), typed)
        self.child.send("\x03")  # gives up the line
        self.child.expect(PROMPT)
        return found


def plain(text):
    """Remove control sequences from a terminal's output; a jump of the cursor ends a word."""
    text = re.sub(r"\x1b\[[0-9;?]*[mKJhl]|\x1b[=>]|\x1b\([A-Z]|\x07|.\x08", "", text)
    return re.sub(r"\x1b\[[0-9;]*[A-Z]|\r", " ", text)


def words(shown, typed):
    """Return the candidates in a shell's output."""
    begun = typed.rpartition(" ")[2]
    found = {word for word in shown.replace(PROMPT, " ").split() if word.startswith(begun)}
    found -= {*typed.split(), begun}
    # The common beginning is completed at once, then the candidates are listed.
    return {
        one for one in found if not all(word.startswith(one) for word in found - {one})
    } or found


@pytest.fixture(scope="module")
def bash(entering, environment):
    options = ("show-all-if-ambiguous on", "completion-query-items 0", "page-completions off",
               "bell-style none", "enable-bracketed-paste off")  # fmt: skip
    return Shell(
        [*entering, "bash", "--noprofile", "--norc", "-i"], environment,
        *(f"bind 'set {option}'" for option in options),
        "source /usr/share/bash-completion/bash_completion",
        "source <(podwire completion bash)",
        f"PS1='{PROMPT}'",
    )  # fmt: skip


@pytest.fixture(scope="module")
def zsh(entering, environment):
    return Shell(
        [*entering, "zsh", "-f", "-i"], environment,
        "unsetopt list_beep list_ambiguous auto_menu prompt_sp; unset zle_bracketed_paste",
        "autoload -Uz compinit; compinit -u -D",
        "source <(podwire completion zsh)",
        f"PROMPT='{PROMPT}'",
    )  # fmt: skip


@pytest.mark.parametrize(("typed", "candidates"), CASES)
def test_bash_completes(bash, typed, candidates):
    assert bash.complete(typed, candidates) == candidates


def test_bash_completes_after_sudo(bash):
    nodes = {"node1", "node2"}
    assert bash.complete("sudo podwire lab exec --name beta node", nodes) == nodes


@pytest.mark.parametrize(("typed", "candidates"), CASES)
def test_zsh_completes(zsh, typed, candidates):
    assert zsh.complete(typed, candidates) == candidates


@pytest.mark.parametrize(("typed", "candidates"), CASES)
def test_fish_completes(entering, environment, typed, candidates):
    script = 'podwire completion fish | source; complete --do-complete "$argv[1]"'
    done = run(*entering, "fish", "--no-config", "-c", script, "--", typed, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert {line.partition("\t")[0] for line in done.stdout.splitlines()} == candidates


def run(*argv, **options):
    return subprocess.run(
        [str(arg) for arg in argv], capture_output=True, text=True, check=False, **options
    )


def asked(line):
    """Return a shell's request: the variables that click reads."""
    count = len(line.split()) - (not line.endswith(" "))
    return {"COMP_WORDS": line, "COMP_CWORD": str(count), "_PODWIRE_COMPLETE": "bash_complete"}


@pytest.mark.parametrize(
    "line", ["podwire ", "podwire lab ", "podwire lab exec ", "podwire lab up -"]
)
def test_a_word_of_a_lab_is_completed_without_importing_podwire(environment, line):
    program = [sys.executable, "-P", "-X", "importtime", "-m", "lab.main"]
    done = run(*program, env=environment | asked(line), cwd=CHECKOUT)
    assert done.returncode == 0
    imported = {row.rpartition("|")[2].strip() for row in done.stderr.splitlines()}
    assert "control.version" in imported
    assert ("lab.completion" in imported) is ("lab" in line)
    assert imported.isdisjoint(HEAVY)


def test_a_tab_in_a_fresh_checkout_sets_nothing_up(tmp_path, environment):
    (tmp_path / "bin").mkdir()
    for name in ("podwire", "setup"):
        shutil.copy(CHECKOUT / "bin" / name, tmp_path / "bin")
    done = run(tmp_path / "bin" / "podwire", env=environment | asked("podwire "))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_another_shell_is_refused():
    done = run(SCRIPTS / "podwire", "completion", "tcsh")
    assert done.returncode == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in done.stderr
