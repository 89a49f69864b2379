"""Hostile bodies of at most 3 MiB: large, many, deep, wrong, cut off, and mutated by a seed."""

import json
import random
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

MOST = 3 * 1024 * 1024  # bytes, the server's limit
JSON = "application/json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"

_META = b'{"metadata":{"name":"h"},'
_POD = _META + b'"spec":{"containers":['


def filled(
    begin: bytes, item: bytes, end: bytes, most: int = MOST, *, between: bytes = b","
) -> bytes:
    """Return as many items, with commas between, as fit; ``%d`` in an item is its number."""
    parts: list[bytes] = []
    size = len(begin) + len(end)
    while True:
        part = item.replace(b"%d", str(len(parts)).encode())
        size += len(part) + len(between)
        if size > most:
            return begin + between.join(parts) + end
        parts.append(part)


def json_bodies() -> Mapping[str, bytes]:
    """Return bodies for everything that reads JSON."""
    return {**_texts(), **_objects(), **_specs(), **_lists(), **_malformed()}


def _texts() -> Mapping[str, bytes]:
    text = b"x" * (MOST - 100)
    return {
        "3 MiB of text": _META + b'"data":{"a":"' + text + b'"}}',
        "1.4 MiB of text": _META + b'"data":{"a":"' + text[: 1400 * 1024] + b'"}}',
        "3 MiB of escapes": _META + b'"data":{"a":"' + b"\\u00e4" * (len(text) // 6 - 10) + b'"}}',
        "3 MiB of spaces": b" " * (MOST - 2) + b"{}",
    }


def _objects() -> Mapping[str, bytes]:
    return {
        "members": filled(_META + b'"data":{', b'"k%d":"v"', b"}}"),
        "16,000 members, one twice": filled(
            _META + b'"data":{"k1":"w",', b'"k%d":"v"', b"}}", 176 * 1024
        ),
        "one member many times": filled(_META + b'"data":{', b'"k":"v"', b"}}"),
        "nulls": filled(_META + b'"data":{', b'"k%d":null', b"}}"),
        "labels": filled(b'{"metadata":{"name":"h","labels":{', b'"k%d":"v"', b"}}}"),
        "wrong labels": filled(b'{"metadata":{"name":"h","labels":{', b'"-%d-":"!"', b"}}}"),
        "annotations": filled(b'{"metadata":{"name":"h","annotations":{', b'"k%d":""', b"}}}"),
        "finalizers": filled(b'{"metadata":{"name":"h","finalizers":[', b'"a/%d"', b"]}}"),
        "owners": filled(b'{"metadata":{"ownerReferences":[', b'{"uid":"%d"}', b"]}}"),
        "unknown fields": filled(_META, b'"f%d":1', b"}"),
    }


def _specs() -> Mapping[str, bytes]:
    return {
        "empty containers": filled(_POD, b"{}", b"]}}"),
        "containers": filled(_POD, b'{"name":"c%d","image":"x"}', b"]}}"),
        "variables": filled(
            _POD + b'{"name":"c","image":"x","env":[', b'{"name":"E%d","value":"v"}', b"]}]}}"
        ),
        "amounts": filled(
            _POD + b'{"name":"c","image":"x","resources":{"limits":{', b'"a/%d":"1Gi"', b"}}}]}}"
        ),
        "tolerations": filled(_META + b'"spec":{"tolerations":[', b'{"key":"k%d"}', b"]}}"),
        "ports": filled(_META + b'"spec":{"ports":[', b'{"port":80}', b"]}}"),
        "replicas and labels": filled(
            _META + b'"spec":{"replicas":2,"selector":{"matchLabels":{', b'"k%d":"v"', b"}}}}"
        ),
        "patch directives": filled(
            b'{"spec":{"containers":[', b'{"name":"c%d","$patch":"delete"}', b"]}}"
        ),
        "an order": filled(b'{"spec":{"$setElementOrder/containers":[', b'{"name":"c%d"}', b"]}}"),
        "options": filled(b'{"gracePeriodSeconds":0,"dryRun":[', b'"All"', b"]}"),
        "a scale": filled(_META + b'"spec":{"replicas":1},"status":{"a":[', b"0", b"]}}"),
    }


def _lists() -> Mapping[str, bytes]:
    return {
        "empty lists": filled(_META + b'"x":[', b"[]", b"]}"),
        "empty objects": filled(_META + b'"x":[', b"{}", b"]}"),
        "integers": filled(_META + b'"x":[', b"1", b"]}"),
        "fractions": filled(_META + b'"x":[', b"1e-300", b"]}"),
    }


def _malformed() -> Mapping[str, bytes]:
    return {
        "a long number": _META + b'"x":' + b"9" * 1_000_000 + b"}",
        "90 levels": b'{"a":' * 90 + filled(b"[", b"[]", b"]", MOST - 1000) + b"}" * 90,
        "500,000 levels": b"[" * 500_000,
        "levels that close": b"[" * 500_000 + b"]" * 500_000,
        "cut off": filled(_POD, b'{"name":"c%d"}', b""),
        "no UTF-8": b'{"metadata":{"name":"' + b"\xff" * 1_000_000 + b'"}}',
        "zeros": bytes(MOST),
        "empty": b"",
        "null": b"null",
        "a list": b"[]",
    }


def yaml_bodies() -> Mapping[str, bytes]:
    """Return bodies in YAML, of 8 KiB, which the server reads at once, and of 3 MiB."""
    few = {name: _lines(*parts, 8 * 1024) for name, parts in _YAML_LINES.items()}
    many = {f"3 MiB of {name}": _lines(*parts, MOST) for name, parts in _YAML_LINES.items()}
    return {**few, **many, **_yaml_texts()}


_YAML_META = b"metadata:\n  name: h\n"
_YAML_POD = _YAML_META + b"spec:\n  containers:\n"
# What a body begins with, and the line that is repeated.
_YAML_LINES = {
    "members": (_YAML_META + b"data:\n", b'  k%d: "v"'),
    "one member many times": (_YAML_META + b"data:\n", b"  k: v"),
    "labels": (_YAML_META + b"  labels:\n", b"    k%d: v"),
    "containers": (_YAML_POD, b"  - name: c%d\n    image: x"),
    "items of one line": (_YAML_POD, b"  - {name: c%d, image: x}"),
    "plain text": (_YAML_META + b"x:\n", b"- 0o17"),
    "numbers": (_YAML_META + b"x:\n", b"- 1_0%d.5e3"),
    "aliases": (_YAML_META + b"x:\n- &a {b: c}\n", b"- *a"),
    "anchors": (_YAML_META + b"x:\n", b"- &a%d b"),
    "merged": (_YAML_META + b"x:\n- &a {b: c}\n", b"- {<<: *a, d: %d}"),
    "tags": (_YAML_META + b"x:\n", b"- !!str 1"),
    "foreign tags": (_YAML_META + b"x:\n", b"- !a%d b"),
    "comments": (_YAML_META, b"# %d"),
    "documents": (_YAML_META, b"---\na: b"),
    "complex names": (_YAML_META + b"x:\n", b"  ? [a%d]\n  : b"),
}


def _lines(begin: bytes, line: bytes, most: int) -> bytes:
    return filled(begin, line, b"\n", most, between=b"\n")


def _yaml_texts() -> Mapping[str, bytes]:
    text = b"x" * (MOST - 100)
    return {
        "a long word": _YAML_META + b"x: " + text,
        "a long number": _YAML_META + b"x: 1" + b"0" * 1_000_000,
        "a short long number": _YAML_META + b"x: 1" + b"0" * 6000,
        "a number of sixties": _YAML_META + b"x: 1" + b":10" * 2000,
        "a block of text": _lines(_YAML_META + b"x: |\n", b"  x", MOST),
        "a deep list": b"x: " + b"[" * 4000 + b"]" * 4000,
        "a deep block": b"".join(b" " * at + b"a:\n" for at in range(120)),
        "dashes": b"- " * 4000,
        "percent signs": b"%" * 4000,
        "no UTF-8": b"x: " + b"\xff" * 4000,
        "UTF-16": "x: y".encode("utf-16"),
    }


def applied() -> Mapping[str, bytes]:
    """Return bodies that are applied: JSON, as kubectl sends it, and YAML."""
    named = {f"JSON: {name}": body for name, body in json_bodies().items()}
    return {**named, **yaml_bodies()}


def json_patches() -> Mapping[str, bytes]:
    """Return JSON patches."""
    operations = {
        "adds": b'{"op":"add","path":"/metadata/annotations/k%d","value":"v"}',
        "adds of objects": b'{"op":"add","path":"/x%d","value":{}}',
        "copies": b'{"op":"copy","from":"/metadata","path":"/x%d"}',
        "copies of all": b'{"op":"copy","from":"","path":"/x%d"}',
        "moves": b'{"op":"move","from":"/metadata","path":"/metadata"}',
        "removals": b'{"op":"remove","path":"/k%d"}',
        "tests": b'{"op":"test","path":"/metadata/name","value":"h"}',
        "tests of all": b'{"op":"test","path":"","value":{}}',
        "replacements": b'{"op":"replace","path":"/metadata/name","value":"h"}',
        "no operation": b'{"op":"fly","path":"/x"}',
        "a wrong operation": b'{"op":[],"path":"/x"}',
        "no path": b'{"op":"add"}',
        "insertions at the front": b'{"op":"add","path":"/metadata/finalizers/0","value":"a/%d"}',
    }
    few = {name: filled(b"[", item, b"]", 9000 * len(item)) for name, item in operations.items()}
    many = {f"3 MiB of {name}": filled(b"[", item, b"]") for name, item in operations.items()}
    value = b'[{"op":"add","path":"/x","value":'
    others = {
        "a long path": b'[{"op":"add","path":"' + b"/a" * 1_000_000 + b'","value":1}]',
        "a long index": b'[{"op":"add","path":"/metadata/finalizers/' + b"9" * 5000 + b'"}]',
        "a long value": filled(value + b"[", b"[]", b"]}]"),
        "an object": b'{"op":"add"}',
    }
    return few | many | others


def _field(number: int, value: bytes) -> bytes:
    size, length = len(value), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + value


def protobuf_bodies() -> Mapping[str, bytes]:
    """Return bodies in protobuf: a Pod in the envelope that upstream's clients write."""
    meta = _field(1, _field(1, b"h"))
    specs = {
        "empty containers": b"\x12\x00" * 1_000_000,
        "named containers": b"".join(_field(2, _field(1, b"c%d" % n)) for n in range(200_000)),
        "variables": _field(2, b"\x3a\x00" * 1_000_000),
        "unknown fields": b"\xf8\x3f\x01" * 900_000,
        "a long text": _field(3, b"x" * 2_900_000),
        "no UTF-8": _field(3, b"\xff" * 2_900_000),
        "tolerations": b"".join(_field(22, b"") for _ in range(900_000)),
        "selectors": b"".join(_field(7, _field(1, b"k%d" % n)) for n in range(200_000)),
        "nothing": b"",
        "a cut length": b"\x12\xff\xff\xff\x7f",
        "a length without an end": b"\x12" + b"\xff" * 100_000,
        "groups": b"\x13" * 1_000_000,
        "nested": _nested(100_000),
    }
    kinds = {"Pod": specs, "ConfigMap": {"members": _members(200_000), "few": _members(2000)}}
    bodies = {
        f"{kind} with {name}": _enveloped(kind, meta + (_field(2, spec) if kind == "Pod" else spec))
        for kind, found in kinds.items()
        for name, spec in found.items()
    }
    whole = bodies["Pod with named containers"]
    return bodies | {
        "the magic number": b"k8s\0",
        "another magic number": b"k9s\0" + whole[4:],
        "half": whole[: len(whole) // 2],
        "without the last byte": whole[:-1],
        "zeros": b"k8s\0" + bytes(2_000_000),
        "JSON": b'{"metadata":{"name":"h"}}',
    }


def _enveloped(kind: str, raw: bytes) -> bytes:
    return b"k8s\0" + _field(1, _field(1, b"v1") + _field(2, kind.encode())) + _field(2, raw)


def _members(count: int) -> bytes:
    return b"".join(_field(2, _field(1, b"k%d" % n) + _field(2, b"v")) for n in range(count))


def _nested(levels: int) -> bytes:
    made = b""
    for _ in range(min(levels, 300)):
        made = _field(2, made)
    return made * (levels // 300)


@cache
def of_media(media: str) -> Mapping[str, bytes]:
    """Return the bodies for a content type, at least twenty."""
    table = {
        JSON_PATCH: json_patches,
        PROTOBUF: protobuf_bodies,
        YAML: yaml_bodies,
        APPLY: applied,
    }
    return table.get(media, json_bodies)()


def mutated(seed: int, count: int, bases: list[Any]) -> Iterator[bytes]:
    """Yield bodies that are made of valid ones by changes at random; the same for a seed."""
    rest = random.Random(seed)  # noqa: S311
    for _ in range(count):
        body = json.dumps(_changed(rest, rest.choice(bases))).encode()
        if rest.random() < 0.3:
            body = _damaged(rest, body)
        yield body[:MOST]


def _changed(rest: random.Random, value: Any) -> Any:
    """Return a value with other values, names or numbers of items in some places."""
    if rest.random() < 0.08:
        return _other(rest)
    if isinstance(value, dict):
        return {_name(rest, name): _changed(rest, inner) for name, inner in value.items()}
    if isinstance(value, list):
        times = rest.choice([0, 1, 1, 1, 2, 300]) if rest.random() < 0.2 else 1
        return [_changed(rest, inner) for inner in value for _ in range(times)]
    return value


def _name(rest: random.Random, name: str) -> str:
    return name if rest.random() > 0.03 else rest.choice(["", "$patch", name * 40, "metadata"])


def _other(rest: random.Random) -> Any:
    made: list[Any] = [
        None,
        True,
        -1,
        2**63,
        1.5,
        "",
        "x" * 10_000,
        "\0\n",
        [],
        {},
        [[]] * 50,
        {"a": {}},
    ]
    return rest.choice(made)


def _damaged(rest: random.Random, body: bytes) -> bytes:
    """Return text with changed, lost or repeated bytes."""
    made = bytearray(body)
    for _ in range(rest.randint(1, 4)):
        at = rest.randrange(len(made) or 1)
        made[at : at + rest.choice([0, 1, 1, 9])] = rest.randbytes(rest.choice([0, 1, 2]))
    return bytes(made) * rest.choice([1, 1, 1, 20])
