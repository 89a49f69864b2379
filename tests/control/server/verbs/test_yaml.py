"""Objects as YAML (application/yaml), which curl and some clients send."""

import pytest

from tests.support.control.requests import CORE, Api

YAML = "application/yaml"
MAPS = f"{CORE}/configmaps"
MAP = b"""
# a comment
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
data: {x: "1"}
"""
# As upstream's test/integration/apiserver/field_validation_test.go.
TWICE = b"""apiVersion: v1
kind: ConfigMap
metadata:
  name: a
  name: a
  unknownMeta: x
unknown1: 1
unknown1: 2
data: {x: "1"}
"""
LINES = ('line 5: key "name" already set in map', 'line 8: key "unknown1" already set in map')
UNKNOWN = ('unknown field "metadata.unknownMeta"', 'unknown field "unknown1"')


async def test_yaml_is_created_and_updated(api: Api):
    made = await api("POST", MAPS, MAP, YAML)
    assert (made.code, made["data"]) == (201, {"x": "1"})
    put = await api("PUT", f"{MAPS}/a", MAP.replace(b'"1"', b'"2"'), f"{YAML}; charset=utf-8")
    assert (put.code, put["data"]) == (200, {"x": "2"})
    gone = await api("DELETE", f"{MAPS}/a", b"propagationPolicy: Orphan\n", YAML)
    assert gone["metadata"]["finalizers"] == ["orphan"]


async def test_yaml_is_validated_as_json_is(api: Api):
    refused = await api("POST", f"{MAPS}?fieldValidation=Strict", TWICE, YAML)
    assert refused.code == 400
    assert refused["message"] == (
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error:'
        f" yaml: unmarshal errors:\n  {LINES[0]}\n  {LINES[1]}, {UNKNOWN[0]}, {UNKNOWN[1]}"
    )
    warned = await api("POST", MAPS, TWICE, YAML)
    texts = [text.replace('"', '\\"') for text in (*LINES, *UNKNOWN)]
    assert warned.code == 201 and warned.warnings == tuple(f'299 - "{text}"' for text in texts)
    quiet = await api("PUT", f"{MAPS}/a?fieldValidation=Ignore", TWICE, YAML)
    assert (quiet.code, quiet.warnings) == (200, ())


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (b"a: [", 400, "error decoding YAML: error converting YAML to JSON: yaml:"),
        (b"- a", 400, "the object provided is unrecognized (must be of type ConfigMap): "),
        (b"data: {x: 1}", 400, "ConfigMap in version"),
        (b"data: {x: yes}", 400, "ConfigMap in version"),
        (b"data: {x: 1" + b"0" * 6000 + b"}", 400, "error decoding YAML: a number of 6001 digits"),
        (b"a: &a " + b"x" * 100_000 + b"\nb: [" + b"*a," * 1000 + b"]\n", 400, "error decoding"),
    ],
)
async def test_malformed_yaml_is_refused(api: Api, text: bytes, code: int, message: str):
    refused = await api("POST", MAPS, text, YAML)
    assert (refused.code, refused["message"][: len(message)]) == (code, message)


async def test_plain_text_has_the_values_of_upstream(api: Api):
    text = b"metadata: {name: a}\nimmutable: no\ndata: {a: 1:30, b: 2001-01-01, c: nO}\n"
    made = await api("POST", MAPS, text, YAML)
    assert (made.code, made["immutable"]) == (201, False)
    assert made["data"] == {"a": "1:30", "b": "2001-01-01", "c": "nO"}
    octal = b"metadata: {name: s}\nspec: {ports: [{port: 0o120}, {name: b, port: 1e3}]}\n"
    # The first has no name, so this is refused for that alone: both ports were numbers.
    refused = await api("POST", f"{CORE}/services", octal, YAML)
    assert refused.code == 422 and "spec.ports[0].name: Required value" in refused["message"]


async def test_another_media_type_is_told_what_is_read(api: Api):
    refused = await api("POST", MAPS, b"<x/>", "application/xml")
    assert refused.code == 415
    assert refused["message"].endswith(
        "media types include: application/json, application/yaml,"
        " application/vnd.kubernetes.protobuf"
    )
