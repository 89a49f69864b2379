"""Rewrite the links of an HTML page that comes in pieces. Pure; the cost is linear in the page.

Only start tags change, in the attributes that upstream knows; comments, scripts and styles stay as
they are. A tag that is longer than 16 KiB stays as it is.
"""

import re
from collections.abc import Callable
from html import escape, unescape

_LONGEST = 16 * 1024
_ATTRIBUTES = {
    "a": "href",
    "applet": "codebase",
    "area": "href",
    "audio": "src",
    "base": "href",
    "blockquote": "cite",
    "body": "background",
    "button": "formaction",
    "command": "icon",
    "del": "cite",
    "embed": "src",
    "form": "action",
    "frame": "longdesc src",
    "head": "profile",
    "html": "manifest",
    "iframe": "longdesc src",
    "img": "longdesc src usemap",
    "input": "src usemap formaction",
    "ins": "cite",
    "link": "href",
    "object": "classid codebase data usemap",
    "q": "cite",
    "script": "src",
    "source": "src",
    "video": "poster src",
}
_KNOWN = {tag: frozenset(names.split()) for tag, names in _ATTRIBUTES.items()}
# Elements whose text has no tags.
_RAW = ("script", "style", "textarea", "title", "iframe", "noembed", "noframes", "xmp", "noscript")
_TAG = re.compile(r"<([a-zA-Z][^\s/>]*+)((?:[^>\"']|\"[^\"]*+\"|'[^']*+')*+)>")
_ATTRIBUTE = re.compile(r"([^\s=/>\"']++)(\s*+=\s*+)(?:\"([^\"]*+)\"|'([^']*+)'|([^\s>\"']++))")
_COMMENT = "<!--"


class PageRewriter:
    """Takes a page in pieces of text, and returns it in pieces with other links."""

    def __init__(self, rewrite: Callable[[str], str]) -> None:
        self._rewrite = rewrite
        self._rest = ""
        self._until = ""  # nothing is a tag before this, in lower case

    def feed(self, text: str) -> str:
        """Return what is known to be complete with the next piece."""
        waits = self._rest[:1] == "<" and not self._until and ">" not in text
        self._rest += text
        if waits and len(self._rest) < _LONGEST:
            return ""  # in the middle of a tag
        return "".join(self._pieces(last=False))

    def close(self) -> str:
        """Return what is left at the end of the page."""
        return "".join(self._pieces(last=True))

    def _pieces(self, *, last: bool) -> list[str]:
        made, text, at = [], self._rest, 0
        while at < len(text):
            next_, said = self._step(text, at, last=last)
            if next_ == at:
                break
            made.append(said)
            at = next_
        self._rest = text[at:]
        return made

    def _step(self, text: str, at: int, *, last: bool) -> tuple[int, str]:
        """Return how far the page is done now, and its text to there; no step if more must come."""
        if self._until:
            return self._skip(text, at, last=last)
        if (start := text.find("<", at)) != at:
            end = len(text) if start < 0 else start
            return end, text[at:end]
        if text.startswith(_COMMENT, at):
            self._until = "-->"
            return at + len(_COMMENT), _COMMENT
        if found := _TAG.match(text, at, at + _LONGEST):
            name = found[1].lower()
            self._until = f"</{name}" if name in _RAW else ""
            return found.end(), self._tag(found, _KNOWN.get(name, frozenset()))
        head, size = text[at : at + len(_COMMENT)], len(text) - at
        if not last and _may_begin(head, size):
            return at, ""
        end = at + (min(size, _LONGEST) if head[1:2].isalpha() else 1)
        return end, text[at:end]

    def _skip(self, text: str, at: int, *, last: bool) -> tuple[int, str]:
        found = re.compile(re.escape(self._until), re.I).search(text, at)
        if found:
            self._until = ""
            return found.start() + 1, text[at : found.start() + 1]
        end = len(text) if last else max(at, len(text) - len(self._until) + 1)
        return end, text[at:end]

    def _tag(self, found: re.Match[str], known: frozenset[str]) -> str:
        if not known:
            return found[0]

        def link(attribute: re.Match[str]) -> str:
            name, equals = attribute[1], attribute[2]
            given = next(each for each in attribute.groups()[2:] if each is not None)
            if name.lower() not in known:
                return attribute[0]
            url = unescape(given)
            made = self._rewrite(url)
            return attribute[0] if made == url else f'{name}{equals}"{escape(made)}"'

        return f"<{found[1]}{_ATTRIBUTE.sub(link, found[2])}>"


def _may_begin(head: str, size: int) -> bool:
    """Return True if a text, of which there is no more yet, may begin a tag or a comment."""
    is_short = size < len(_COMMENT) and _COMMENT.startswith(head)
    return is_short or (head[1:2].isalpha() and size < _LONGEST)
