"""Files that the documentation names exist."""

import re

import pytest

from tests.support.e2e.harness import CHECKOUT

PAGES = [
    *CHECKOUT.glob("*.md"),
    *(
        path
        for folder in ("docs", "findings", "examples")
        for path in (CHECKOUT / folder).rglob("*.md")
    ),
]
# A file of the checkout: in backticks, or the target of a link.
_FILE = re.compile(
    r"`((?:cni_plugin|control|proxy|lab|tests|bench|bin|docs|examples|findings)/[\w./-]+)`"
)
_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(?:#[\w-]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_named_files_exist(page) -> None:
    text = page.read_text()
    named = {CHECKOUT / name.rstrip("/.") for name in _FILE.findall(text)}
    linked = {page.parent / name for name in _LINK.findall(text)}
    absent = [str(path) for path in sorted(named | linked) if not path.exists()]
    assert absent == []
