"""The subresource resize: it changes a Pod's CPU and memory, and nothing else.

``recorded/resizes.json`` has the objects that are there, and rows of (what, method, path, body,
media type, answer) of a kube-apiserver 1.36.2. An answer is the Pod's (code, generation, resources
of containers, of init containers, of the Pod, fields that the request took), or (code, reason,
message, causes); a message is null if podwire says the same in other words.
"""

import json
from pathlib import Path
from typing import Any

from tests.support.control.requests import MERGE, Api

RECORDED = Path(__file__).parent / "recorded/resizes.json"


async def made(api: Api) -> list[Any]:
    given = json.loads(RECORDED.read_text())
    for method, path, wire in given["objects"]:
        if method == "POST":
            await api.make(path, wire)
        else:
            reply = await api("PATCH", path, wire, MERGE)
            assert reply.code == 200, (path, reply)
    answers: list[Any] = given["answers"]
    return answers


def shown(code: int, body: dict[str, Any]) -> list[Any]:
    if code >= 300:
        causes = (body.get("details") or {}).get("causes", [])
        named = [[it.get("reason", ""), it.get("field", "")] for it in causes]
        return [code, body.get("reason", ""), body.get("message", ""), named]
    spec, meta = body["spec"], body["metadata"]
    parts = [
        [each.get("resources") for each in spec.get(name, [])]
        for name in ("containers", "initContainers")
    ]
    own = [it for it in meta.get("managedFields", []) if it.get("subresource") == "resize"]
    names = {"me": "me"}
    taken = [
        [names.get(it["manager"], "client"), it["operation"], "resize", it["fieldsV1"]]
        for it in own
    ]
    return [code, meta.get("generation"), *parts, spec.get("resources"), taken]


async def test_upstream_answers_the_same(api: Api):
    answers = await made(api)
    assert len(answers) > 90
    wrong = []
    for what, method, path, body, media, expected in answers:
        reply = await api(method, path, body, media)
        answer = shown(reply.code, reply.body)
        if expected[2] is None:
            answer[2] = None
        if answer != expected:
            wrong.append((what, answer, expected))
    assert not wrong, "\n".join(map(str, wrong))
