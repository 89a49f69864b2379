"""Reading a page's commands, and comparing what they print with what the page shows."""

import pytest

from tests.support.docs import Command, fits, read_page

PAGE = """# A page
<!-- world: lab -->

```console
$ one
line
  …
$ two \\
> more
```

```text
$ drawn
```

<!-- not run: it takes an hour -->
```console
$ three
```
<!-- before: export A=1 -->
<!-- stop after 2 s -->
```console
$ four
```
"""


def test_commands_their_output_and_what_is_said_of_them() -> None:
    page = read_page(PAGE)
    assert page.world == "lab"
    assert page.faults == ()
    assert page.commands == (
        Command(5, "one", ("line", "  …")),
        Command(8, "two \\\nmore"),
        Command(18, "three", not_run="it takes an hour"),
        Command(22, "export A=1"),
        Command(23, "four", stop_after=2),
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("```\n$ x\n```\n", "line 1: a block of no language"),
        ("```sh\nx\n```\n", "line 1: a block of sh"),
        ("```console\n$ x\n```\n", "it has commands, and no comment 'world: …'"),
    ],
)
def test_no_command_escapes(text: str, fault: str) -> None:
    assert read_page(text).faults == (fault,)


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        (["a  b"], ["a      b"]),
        (["id … up"], ["id 17 up"]),
        (["first", "…", "last"], ["first", "1", "2", "last"]),
        (["first", "…"], ["first"]),
        (["(a.b)*"], ["(a.b)*   "]),
    ],
)
def test_output_that_fits(expected: list[str], printed: list[str]) -> None:
    assert fits(expected, printed)


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        (["a"], []),
        (["a"], ["a", "b"]),
        (["a b"], ["ab"]),
        (["id … up"], ["id 17 down"]),
        (["a.c"], ["abc"]),
        ([], ["a"]),
    ],
)
def test_output_that_does_not_fit(expected: list[str], printed: list[str]) -> None:
    assert not fits(expected, printed)
