"""Lab files: what they mean, what is wrong with them, and the way back."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from lab.cli import main
from lab.file.manifests import ManifestError
from lab.file.manifests import read as read_manifests
from lab.file.model import LabFile, schema
from lab.file.plan import describe, plan
from lab.file.read import LabFileError, read
from lab.members import new_nodes
from lab.spec import ZONE, LabSpec, make_spec
from tests.support.e2e.harness import CHECKOUT

WHOLE = b"""\
version: 1
name: shop
nodes:
- {name: edge, zone: b, labels: {disk: 1, on: off}, taints: ["edge=:NoSchedule"]}
- {count: 2}
- {name: far, number: 9}
network: {ipFamily: dual, podCIDRs: [10.1.0.0/16], overlay: vxlan}
proxy: {mode: nftables, counters: off}
runtime: containerd
"""


def planned(text):
    return plan(read(text.encode() if isinstance(text, str) else text, "lab.yaml"))


def test_a_file_says_what_options_say_and_more():
    spec = planned(WHOLE)
    options = make_spec(
        "shop",
        nodes=4,
        proxy="nftables",
        overlay="vxlan",
        pod_cidr="10.1.0.0/16",
        dual_stack=True,
        runtime="containerd",
    )
    assert replace(spec, nodes=()) == replace(options, nodes=())
    assert [(node.name, node.number) for node in spec.nodes] == [
        ("edge", 1),
        ("node2", 2),
        ("node3", 3),
        ("far", 9),
    ]
    assert dict(spec.nodes[0].labels) == {"disk": "1", "on": "off", ZONE: "b"}
    assert spec.nodes[0].taints == ("edge=:NoSchedule",)


def test_an_empty_file_but_for_its_version_is_the_usual_lab():
    assert planned("version: 1") == make_spec("lab")


def test_a_name_keeps_its_number_whatever_stands_before_it():
    nodes = planned("version: 1\nnodes: [{count: 2}, {name: node1}]").nodes
    assert [(node.name, node.number) for node in nodes] == [
        ("node2", 2),
        ("node3", 3),
        ("node1", 1),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "version: 1\nnodes:\n- zoen: a\n",
            "lab.yaml:3: nodes[0].zoen: there is no such field; write zone, or remove it",
        ),
        (
            "version: 1\nxyz: 1\n",
            "lab.yaml:2: xyz: there is no such field; remove it; known are version, name, nodes, "
            "hollow, runtime, controlPlane, network, proxy, dns, images, manifests, publish",
        ),
        (
            "version: 1\nnetwork:\n  podCidrs: []\n",
            "lab.yaml:3: network.podCidrs: there is no such field; write podCIDRs, or remove it",
        ),
        ("{}", "lab.yaml:1: version: this field is missing: write version: …"),
        ("", "lab.yaml:1: version: this field is missing"),
        ("version: 2", "lab.yaml:1: version 2: Input should be 1"),
        ("[]", "lab.yaml:1: the file: Input should be a valid dictionary"),
        (
            "version: 1\nproxy:\n  mode: ipvs",
            "lab.yaml:3: proxy.mode 'ipvs': Input should be 'iptables', 'nftables' or 'ebpf'",
        ),
        (
            "version: 1\ncontrolPlane:\n  eventTTL: soon",
            "lab.yaml:3: controlPlane.eventTTL: eventTTL soon: want a time of a second or more",
        ),
        ("version: 1\nnodes: []", "lab.yaml:2: nodes: Tuple should have at least 1 item"),
        ("version: 1\nnodes: [{count: 101}]", "lab.yaml:2: nodes[0].count '101': "),
        ("version: 1\nnodes: [{count: 99}, {count: 2}]", "lab.yaml:2: nodes: 101 nodes: "),
        (
            "version: 1\nnodes:\n- {name: a}\n- {name: a}",
            "lab.yaml:4: nodes[1].name: name 'a': the lab has a node of this name already",
        ),
        ("version: 1\nnodes: [{name: switch}]", "lab.yaml:2: nodes[0].name: "),
        (
            "version: 1\nnodes: [{name: a, number: 1}, {name: b, number: 1}]",
            "lab.yaml:2: nodes[1].number: another node has number 1",
        ),
        ("version: 1\nnodes: [{name: a, count: 2}]", "count is for nodes without a name"),
        ("version: 1\nnodes: [{labels: {a b: c}}]", "label a b=c: "),
        ("version: 1\nnodes: [{taints: [x]}]", "want KEY[=VALUE]:EFFECT"),
        ("version: 1\nname: ../x", "lab.yaml:2: name: name '../x': use 1 to 32"),
        (
            "version: 1\nnetwork: {podCIDRs: [8.8.0.0/16]}",
            "lab.yaml:2: network: podCIDRs 8.8.0.0/16: a lab may use only private ranges",
        ),
        ("version: 1\nversion: 1", "lab.yaml:2: version is there twice"),
        ("version: 1\na: &x [*x]", "lab.yaml:2: a lab file has no aliases"),
        ("[" * 5000, "lab.yaml:1: it is nested over 16 levels deep"),
        ("version: 1\n\tname: x", "lab.yaml:2: found a tab character that violates indentation"),
        ("? [a]\n: b", "lab.yaml:1: a field's name is one word"),
        (b"version: \xff", "lab.yaml:1: "),
        (b"#" * (2 << 20), "lab.yaml: it has over 1 MiB"),
    ],
)
def test_what_is_wrong_is_told_with_line_and_remedy(text, says):
    with pytest.raises(LabFileError) as told:
        planned(text)
    assert says in str(told.value)


def test_every_fault_has_its_line():
    with pytest.raises(LabFileError) as told:
        planned("version: 1\na: 1\nb: 2\nproxy: {mode: x}\nnodes: [{x: 1}]\n")
    assert [line.split(": ")[0] for line in str(told.value).splitlines()] == [
        "lab.yaml:5",
        "lab.yaml:4",
        "lab.yaml:2",
        "lab.yaml:3",
    ]


_NAMES = st.sampled_from(["", "", "", "node2", "node7", "gpu", "a1"])


@given(st.lists(_NAMES, min_size=1, max_size=6), st.sets(st.integers(0, 5)), st.booleans())
def test_the_file_of_a_lab_makes_it_again(names, gone, dual):
    """Whatever nodes were added and removed."""
    spec = make_spec(
        "a", nodes=1, dual_stack=dual, dns_upstream=("172.31.0.1",), stub_domain=("a=172.31.0.1",)
    )
    for name in names:
        if name not in {node.name for node in spec.nodes}:
            added = new_nodes(spec, [name] if name else (), ["k=v"], ["t:NoExecute"], "z")
            spec = replace(spec, nodes=(*spec.nodes, *added))
    rest = tuple(node for place, node in enumerate(spec.nodes) if place not in gone)
    spec = replace(spec, nodes=rest or spec.nodes)
    file = describe(spec, None, ["8080:web:80"])
    text = json.dumps(file.model_dump(mode="json", by_alias=True))
    assert planned(text) == spec


def test_every_setting_of_a_lab_is_in_its_file():
    """A new option of lab up belongs into the lab file, too."""
    unwritten = {"stopped", "stopped_controls"}  # a lab that is made runs
    spec = make_spec("a")
    for field in set(LabSpec.__dataclass_fields__) - unwritten - {"nodes", "name"}:
        words = {"proxy": "ebpf", "overlay": "vxlan", "counters": "packets", "store": "etcd"}
        more = words | {
            "runtime": "containerd",
            "hollow": 7,
            "control_planes": 3,
            "event_ttl": "5m",
        }
        odd = more.get(field, ("fd01::/64",))
        changed = replace(spec, **{field: odd})
        assert describe(changed, None) != describe(spec, None), field


def test_the_schema_refuses_what_podwire_refuses():
    """An editor shows a wrong field: each object of the schema is closed, and described."""
    whole = schema()
    objects = [whole, *whole["$defs"].values()]
    assert all(each["additionalProperties"] is False and each["description"] for each in objects)
    assert set(whole["properties"]) == {
        field.alias or name for name, field in LabFile.model_fields.items()
    }


def test_the_example_is_a_lab_file():
    spec = planned((CHECKOUT / "examples/labs/three.yaml").read_bytes())
    assert [dict(node.labels)[ZONE] for node in spec.nodes] == ["west", "east", "east"]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"lab.yaml": "version: 1\nmanifests: [a.yaml]"}, "a.yaml: No such file or directory"),
        ({"lab.yaml": "version: 1\nmanifests: [a.yaml]", "a.yaml": "a: 1"}, "want objects with"),
        ({"lab.yaml": "version: 1\nmanifests: [.]"}, "lab.yaml: want objects with apiVersion"),
        ({"lab.yaml": "version: 1\npublish: [x]"}, "lab.yaml:2: publish[0]: 'x': write it as"),
        ({"lab.yaml": "version: 1\nimages: [{name: a, source: b}]"}, "no such file or folder"),
        ({}, "lab.yaml: No such file or directory"),
    ],
)
def test_all_is_checked_before_a_lab_is_made(tmp_path, monkeypatch, files, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lab.state.ROOT", tmp_path / "labs")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = CliRunner().invoke(main, ["up", "--file", "lab.yaml"])
    assert done.exit_code == 1
    assert says in done.output
    assert not (tmp_path / "labs").exists()


def test_options_that_belong_into_the_file_are_refused(tmp_path):
    done = CliRunner().invoke(main, ["up", "-f", "x.yaml", "--nodes=2", "--dual-stack"])
    assert done.exit_code == 2
    assert "--dual-stack, --nodes and --file: write it into the file" in done.output


def test_manifests_are_objects_of_all_documents_lists_and_files(tmp_path):
    row = '{{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {{"name": "{}"}}}}'
    listed = f'{{"apiVersion": "v1", "kind": "List", "items": [{row.format("c")}]}}'
    (tmp_path / "2.yaml").write_text(f"---\n{row.format('b')}\n--- # next\n{listed}\n---\n")
    (tmp_path / "1.json").write_text(row.format("a"))
    (tmp_path / "readme.txt").write_text("no manifest")
    found = read_manifests([tmp_path])
    assert [each.wire["metadata"]["name"] for each in found] == ["a", "b", "c"]


def test_an_object_without_a_name_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("{apiVersion: v1, kind: Pod, metadata: {generateName: x}}")
    with pytest.raises(ManifestError, match=r"Pod: it needs a metadata\.name"):
        read_manifests([tmp_path / "a.yaml"])
