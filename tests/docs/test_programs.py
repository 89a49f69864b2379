"""A reader who followed README has every program that the pages call, or was told of it."""

import re
import shutil
from collections.abc import Iterator

from tests.support.docs import read_page
from tests.support.e2e.harness import CHECKOUT

README = (CHECKOUT / "README.md").read_text()
PAGES = [
    path for pattern in ("*.md", "docs/**/*.md", "examples/*.md") for path in CHECKOUT.glob(pattern)
]
# Every Debian has these: coreutils, diffutils, grep, hostname, util-linux and the shell's own.
DEBIAN = """
base64 cat chmod cp cut date diff echo env false grep head hostname id kill ln ls mkdir mktemp mv
nsenter printf pwd rm rmdir sed sh sleep sort tail tee timeout touch tr true uname uniq unshare wc
"""
# Programs of packages in lab/debian-packages.txt, beside the one that each line there names.
PACKAGES = {
    "iproute2": {"bridge"},
    "iptables": {"iptables-save", "ip6tables-save"},
    "procps": {"pgrep", "pkill", "ps"},
}
TOLD = {"kubectl", *re.findall("`([a-z0-9]+)`", README.partition("pages use besides")[2][:80])}
# Where a command begins, beside a line's start: after an operator, in $(…), after "exec NODE --".
_BEGIN = re.compile(r"[|;&\n(]|\bdo\b|\bthen\b| -- ")
_QUOTED = re.compile(r"""'[^']*'|"(\$\([^"]*)"|"[^"]*"|(?<!\$)#.*""")
_BEFORE = re.compile(r"(?:sudo|until|while|if|!|\w+=\S*)$")


def called(text: str) -> Iterator[str]:
    """The first word of each command in a line of shell, without its quoted parts."""
    for part in _BEGIN.split(_QUOTED.sub(r"\1", text)):
        yield from next(([word] for word in part.split() if not _BEFORE.match(word)), [])


def programs() -> set[str]:
    """The programs of this machine that the pages' commands call by name."""
    commands = [one.text for page in PAGES for one in read_page(page.read_text()).commands]
    words = {word for text in commands for word in called(text)}
    return {word for word in words if "/" not in word and shutil.which(word)}


def test_a_reader_has_every_program_that_a_page_calls():
    needed = {"podwire", *TOLD, *DEBIAN.split()}
    for line in (CHECKOUT / "lab/debian-packages.txt").read_text().splitlines():
        if not line.startswith("#"):
            package, program, *_ = line.split()
            needed |= {program, *PACKAGES.get(package, ())}
    assert programs() - needed == set()


def test_the_commands_of_a_line_are_found():
    text = """vip="$(kubectl get x | jq .a)" && sudo ip netns exec a -- ping 'b; c' "d; e" # f"""
    assert list(called(text)) == ["kubectl", "jq", "ip", "ping"]
