"""Answers in YAML, and in the forms that a client may ask for."""

from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from control.server.wire.yaml.read import load_yaml
from control.server.wire.yaml.write import listed, pieces
from tests.support.control.requests import APPS, CORE, Api, config_map, deployment, pod

YAML = "application/yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
ASKED = {"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}


def text(value: Any) -> str:
    return b"".join(pieces(value)).decode()


# Letters that mean something somewhere in YAML, and words that are no text.
_LETTERS = st.sampled_from([*"ab:-#'\" \n\t01.~y|>{}[]&*!%@`,?é_=<", "\x85", "\u2028", "\ufeff"])
_WORDS = st.sampled_from(["yes", "0x1", "1:30", "2020-01-01", "null", ".inf", "---", "..."])
_TEXT = st.lists(_LETTERS | _WORDS, max_size=6).map("".join) | st.text(max_size=9)
_PLAIN = _TEXT | st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(-9, 9)
_VALUES = st.recursive(
    _PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3)
)


@given(st.dictionaries(_TEXT, _VALUES, max_size=3))
def test_whatever_is_written_is_read_as_the_same(value):
    assert load_yaml(text(value).encode(), 10**6, 100)[0] == value


@given(st.lists(st.dictionaries(_TEXT, _PLAIN, max_size=2), max_size=3))
def test_a_list_is_written_as_its_whole(items):
    head = {"kind": "L", "apiVersion": "v1"}
    made = b"".join(listed(head, "items", (orjson.dumps(item) for item in items)))
    assert made == text(head | {"items": items}).encode()


def test_the_text_is_upstreams():
    value = {
        "b": {"list": [{"z": 1, "a": "x"}, [], "1", ["n"]], "none": None, "empty": {}},
        "a": "two\nlines\n",
        "c": ["yes", "8080/TCP", "- a", "it's: so", "tab\there", "2026-11-29T13:00:00Z", ""],
        "k" * 200: {"v": True},
    }
    assert text(value) == (
        "a: |\n  two\n  lines\n"
        "b:\n  empty: {}\n  list:\n  - a: x\n    z: 1\n  - []\n"
        '  - "1"\n  - - "n"\n  none: null\n'
        "c:\n- \"yes\"\n- 8080/TCP\n- '- a'\n- 'it''s: so'\n- \"tab\\there\"\n"
        '- "2026-11-29T13:00:00Z"\n- ""\n'
        f"? {'k' * 200}\n:\n  v: true\n"
    )


async def answer(api: Api, method: str, path: str, body: Any = None, accept: str = YAML) -> Any:
    """Send a request; return (code, media type, value)."""
    async with api.session.request(method, path, json=body, headers={"Accept": accept}) as got:
        return got.status, got.content_type, yaml.safe_load(await got.read())


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "kind"),
    [
        ("GET", f"{CORE}/configmaps/a", None, 200, "ConfigMap"),
        ("GET", f"{CORE}/configmaps", None, 200, "ConfigMapList"),
        ("GET", f"{CORE}/configmaps/none", None, 404, "Status"),
        ("POST", f"{CORE}/configmaps", config_map("b"), 201, "ConfigMap"),
        ("POST", f"{CORE}/configmaps", config_map("A"), 422, "Status"),
        ("DELETE", f"{CORE}/configmaps/a", None, 200, "Status"),
        ("POST", REVIEW, ASKED, 201, "SelfSubjectAccessReview"),
        ("GET", "/api", None, 200, "APIVersions"),
        ("GET", "/apis", None, 200, "APIGroupList"),
        ("GET", "/apis/apps", None, 200, "APIGroup"),
        ("GET", "/api/v1", None, 200, "APIResourceList"),
        ("GET", f"{CORE}/configmaps?watch=1", None, 406, "Status"),
    ],
)
async def test_objects_lists_and_refusals_are_yaml_for_who_wants_it(
    api: Api, method, path, body, code, kind
):
    await api.make(f"{CORE}/configmaps", config_map("a"))
    got, media, value = await answer(api, method, path, body)
    assert (got, media, value["kind"]) == (code, YAML, kind)


async def test_a_large_list_in_yaml_is_the_same_as_in_json(api: Api):
    for number in range(3):
        await api.make(f"{CORE}/configmaps", config_map(f"m{number}", x="y\n" * 20_000))
    _, _, shown = await answer(api, "GET", f"{CORE}/configmaps")
    _, _, one = await answer(api, "GET", f"{CORE}/configmaps/m1")
    assert shown == (await api("GET", f"{CORE}/configmaps")).body
    assert one == (await api("GET", f"{CORE}/configmaps/m1")).body


async def test_a_table_may_be_yaml(api: Api):
    await api.make(f"{CORE}/configmaps", config_map("a"))
    as_yaml = TABLE.replace("json", "yaml")
    _, media, found = await answer(api, "GET", f"{CORE}/configmaps", accept=as_yaml)
    assert (media, found["kind"], found["rows"][0]["cells"][0]) == (YAML, "Table", "a")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", REVIEW, ASKED),
        ("POST", f"{CORE}/pods/p/eviction", {"metadata": {"name": "p"}}),
        ("POST", f"{CORE}/pods/p/binding", {"metadata": {"name": "p"}, "target": {"name": "n"}}),
        ("POST", f"{CORE}/serviceaccounts/default/token", {"spec": {}}),
        ("GET", "/api", None),
        ("GET", "/apis/apps/v1", None),
    ],
)
async def test_there_is_no_table_of_what_is_no_object(api: Api, method, path, body):
    await api.make(f"{CORE}/pods", pod())
    refused = await api(method, path, body, Accept=TABLE)
    assert (refused.code, refused["reason"]) == (406, "NotAcceptable")
    assert (await api("GET", f"{CORE}/pods/p")).code == 200  # nothing was done
    assert (await api(method, path, body, Accept=f"{TABLE},application/json")).code != 406


async def test_a_scale_has_a_table(api: Api):
    await api.make(f"{APPS}/deployments", deployment(replicas=3))
    shown = await api("GET", f"{APPS}/deployments/d/scale", Accept=TABLE)
    assert [column["name"] for column in shown["columnDefinitions"]] == [
        "Name",
        "Desired",
        "Available",
        "Age",
    ]
    assert shown["rows"][0]["cells"][:3] == ["d", 3, 0]
    assert shown["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
