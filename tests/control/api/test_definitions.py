"""The table of upstream's types is what bin/extract-definitions makes, and reads back whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from control.api.definitions.descriptions import descriptions
from control.api.definitions.table import (
    SCALARS,
    definition,
    full_name,
    names,
    type_name,
)
from control.api.types.table import fields_of, messages

# Messages whose fields 1.37 replaced: messages.txt has those of 1.37.
CHANGED_IN_137 = {"core.NodeAllocatableResourceClaimStatus"}
ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "control/api/definitions"
SOURCE = Path(sys.prefix) / "share/definitions.json"


def upstream():
    """Return upstream's definitions, which bin/setup --dev fetched."""
    return json.loads(SOURCE.read_text())["$defs"]


@pytest.mark.parametrize(
    ("command", "table"), [("types", "definitions.txt"), ("texts", "descriptions.txt")]
)
def test_tables_are_what_the_script_makes_of_upstreams_definitions(command, table):
    made = subprocess.run(
        [sys.executable, ROOT / "bin/extract-definitions", command, SOURCE],
        check=True,
        capture_output=True,
        text=True,
    )
    assert made.stdout == (FOLDER / table).read_text()


def test_every_type_says_of_each_field_what_upstream_says():
    found, said_of = upstream(), descriptions()
    for name in names():
        schema, known = found[full_name(name)], definition(name)
        properties = schema.get("properties", {})
        assert known.fields.keys() == properties.keys()
        for field, said in properties.items():
            own = known.fields[field]
            assert own.required == (field in schema.get("required", ()))
            assert list(own.keys) == said.get("x-kubernetes-list-map-keys", [])
            assert own.merge_key == said.get("x-kubernetes-patch-merge-key", "")
            assert ",".join(own.strategies) == said.get("x-kubernetes-patch-strategy", "")
            assert said_of[name].fields[field] == described(said)
            assert own.many[:1] == {"array": "[", "object": "{"}.get(kind_of(said), "")
            if given := said.get("x-kubernetes-list-type") or said.get("x-kubernetes-map-type"):
                assert own.structure == given
        assert said_of[name].text == described(schema)
        assert known.atomic == (schema.get("x-kubernetes-map-type") == "atomic")
        assert known.any == (not kind_of(schema))


def described(schema):
    """Return a schema's description; a tab in it is a space here."""
    return schema.get("description", "").replace("\t", " ")


def kind_of(schema):
    """Return a schema's JSON type; empty without one, or for a reference."""
    given = schema.get("type", "") if "$ref" not in schema else ""
    return given[0] if isinstance(given, list) else given


def test_every_type_that_a_field_names_is_there():
    used = {field.type for name in names() for field in definition(name).fields.values()}
    assert used - SCALARS <= set(names())


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (("", "v1", "Pod"), "core.v1.Pod"),
        (("batch", "v1", "CronJob"), "batch.v1.CronJob"),
        (("networking.k8s.io", "v1", "Ingress"), "networking.v1.Ingress"),
        (("apps", "v1beta1", "Deployment"), ""),
    ],
)
def test_kinds_are_found_by_group_version_and_kind(kind, name):
    assert type_name(*kind) == name
    assert not name or definition(name).kind == kind


def test_a_field_tells_how_it_merges():
    fields = definition("core.v1.Container").fields
    assert fields["ports"].keys == ("containerPort", "protocol")
    assert fields["ports"].merge_key == "containerPort"
    assert fields["command"].structure == "atomic"
    assert definition("core.v1.Service").fields["spec"].structure == ""
    assert definition("core.v1.ServiceSpec").fields["selector"].structure == "atomic"
    assert definition("meta.v1.ObjectMeta").fields["labels"].structure == "granular"
    assert definition("meta.v1.ObjectMeta").fields["finalizers"].structure == "set"
    assert definition("core.v1.ObjectReference").atomic


def test_the_table_of_messages_has_every_field_of_upstreams_types():
    for name in names():
        package, version, kind = (*name.split("."), "")[:3]
        message = f"{package if version == 'v1' else package + version}.{kind}"
        if message in messages() and message not in CHANGED_IN_137:
            wanted = set(definition(name).fields) - {"apiVersion", "kind"}
            assert wanted <= set(fields_of(message)), message
