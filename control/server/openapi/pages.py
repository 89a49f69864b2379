"""The paths below /openapi."""

from hashlib import sha256

from control.api.base import encode
from control.server.answer import Answer
from control.server.discovery import group_versions
from control.server.errors import not_acceptable
from control.server.forms import clauses
from control.server.openapi.documents import group_path, v2_document, v3_document

_ROOT = "/openapi/v3"
_JSON = ("application/json", "application/*", "*/*")


def schemas(path: str, accept: str) -> Answer | None:
    """The document at a path, None if there is none; raises Refused (406)."""
    if path == "/openapi/v2":
        return _json(v2_document(), accept)
    if path == _ROOT:
        return _json(_index(), accept)
    if path.startswith(f"{_ROOT}/"):
        for group, version in group_versions():
            if path == f"{_ROOT}/{group_path(group, version)}":
                document = v3_document(group, version)
                return None if document is None else _json(document, accept)
    return None


def _json(document: dict[str, object], accept: str) -> Answer:
    media = [clause.media for clause in clauses(accept)]
    if media and not any(wanted in _JSON for wanted in media):
        raise not_acceptable(["application/json"])
    return Answer(encode(document))


def _index() -> dict[str, object]:
    """Where each document is; the hash lets clients keep it for as long as it is the same."""
    paths = {}
    for group, version in group_versions():
        digest = sha256(encode(v3_document(group, version))).hexdigest()[:16].upper()
        path = group_path(group, version)
        paths[path] = {"serverRelativeURL": f"{_ROOT}/{path}?hash={digest}"}
    return {"paths": paths}
