"""Requests are parsed once, and invalid ones get the specification's error codes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_plugin.spec.errors import CniError
from cni_plugin.spec.request import CniArgs, Request, parse_args, parse_request
from cni_plugin.spec.versions import SUPPORTED, Verb

ENVIRONMENT = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/c1",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}
CONF = {"cniVersion": "1.1.0", "name": "net", "type": "podwire-cni"}


def request(conf: object = CONF, **variables: str) -> Request:
    raw = conf if isinstance(conf, bytes) else json.dumps(conf).encode()
    return parse_request(ENVIRONMENT | {f"CNI_{k}": v for k, v in variables.items()}, raw)


def code(conf: object = CONF, **variables: str) -> int:
    with pytest.raises(CniError) as raised:
        request(conf, **variables)
    return raised.value.code


@pytest.mark.parametrize("container_id", ["a\n", "-a", "../x", "a/b", "ä", ".a", " a", "a b"])
def test_container_id_is_matched_whole(container_id):
    assert code(CONTAINERID=container_id) == 4


@pytest.mark.parametrize(
    "ifname", [".", "..", "a/b", "a:b", "a b", "a\n", "a\t", "x" * 16, "é" * 8, "a\u2003", "a%d"]
)
def test_an_interface_name_that_the_kernel_rejects_is_refused(ifname):
    assert code(IFNAME=ifname) == 4


def test_an_interface_name_may_have_fifteen_bytes():
    assert request(IFNAME="x" * 15).ifname == "x" * 15


@pytest.mark.parametrize("name", ["", "a\n", "../x", "a/b", ".hidden", "x" * 300])
def test_network_name(name):
    assert code(CONF | {"name": name}) == 7


def test_one_error_names_every_missing_variable():
    with pytest.raises(CniError) as raised:
        request(CONTAINERID="", NETNS="", IFNAME="")
    assert raised.value.code == 4
    for name in ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"):
        assert name in raised.value.message


def test_del_needs_no_namespace():
    assert request(COMMAND="DEL", NETNS="").netns == ""


@pytest.mark.parametrize("command", ["", "add", "REMOVE"])
def test_unknown_command(command):
    assert code(COMMAND=command) == 4


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"\xff", b'"x"', b"[" * 100_000])
def test_a_configuration_that_is_no_object_is_refused(raw):
    assert code(raw) in {6, 7}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mtu", "1500"),
        ("mtu", -1),
        ("isGateway", "true"),
        ("bridge", 5),
        ("bridge", "a/b"),
        ("bridge", "br%d"),
        ("ipam", []),
        ("ipam", {"ranges": [[{"subnet": "x"}]]}),
        ("runtimeConfig", {"mac": "x"}),
        ("vlan", 4095),
        ("vlanTrunk", [{"minID": 5}]),
        ("vlanTrunk", [{"minID": 5, "maxID": 4}]),
        ("cniVersion", 1),
        ("prevResult", 3),
        ("name", 7),
    ],
)
def test_values_of_wrong_types_are_refused(field, value):
    assert code(CONF | {field: value}) == 6


@pytest.mark.parametrize(
    ("version", "command"),
    [("0.3.1", "CHECK"), ("1.0.0", "GC"), ("1.0.0", "STATUS"), ("2.0.0", "ADD"), ("x", "DEL")],
)
def test_a_verb_needs_its_version(version, command):
    assert code(CONF | {"cniVersion": version}, COMMAND=command) == 1


def test_a_missing_version_means_the_oldest():
    assert request({"name": "net", "type": "podwire-cni"}).version == "0.1.0"


def test_null_means_absent_and_the_case_of_keys_does_not_matter():
    conf = CONF | {
        "ipam": None,
        "ISGATEWAY": True,
        "runtimeConfig": {"PortMappings": [{"HostPort": 80, "ContainerPort": 8080}]},
    }
    parsed = request(conf).conf
    assert parsed.is_gateway
    assert parsed.runtime_config.port_mappings[0].container_port == 8080


def test_version_needs_no_variables_and_returns_the_version():
    parsed = request({"cniVersion": "9.9.9"}, COMMAND="VERSION", CONTAINERID="", ARGS="rubbish")
    assert (parsed.verb, parsed.version) == (Verb.VERSION, "9.9.9")


def test_args():
    parsed = parse_args("IgnoreUnknown=1;K8S_POD_NAME=web;IP=10.0.0.9/24;MAC=02:00:00:00:00:01")
    assert ([*map(str, parsed.ips)], parsed.mac) == (["10.0.0.9/24"], "02:00:00:00:00:01")
    several = parse_args("IP=10.0.0.9/24, fd00::9/64")
    assert [*map(str, several.ips)] == ["10.0.0.9/24", "fd00::9/64"]


@pytest.mark.parametrize("value", ["1", "true", "True", "TRUE"])
def test_unknown_args_pass_if_told_so(value):
    assert parse_args(f"K=v;IgnoreUnknown={value}").ips == ()


@pytest.mark.parametrize("text", ["", "IgnoreUnknown=0", "IgnoreUnknown=False", "IP=", "MAC="])
def test_args_that_say_nothing(text):
    assert parse_args(text) == CniArgs()


@pytest.mark.parametrize(
    ("uid", "known"),
    [("0a1b-2c", True), ("x" * 64, True), ("x" * 65, False), ('a"b', False), ("-", False)],
)
def test_the_uid_of_a_pod_is_taken_if_it_is_one(uid, known):
    assert parse_args(f"IgnoreUnknown=1;K8S_POD_UID={uid}").pod_uid == (uid if known else "")


@pytest.mark.parametrize(
    "text",
    [
        "K8S_POD_NAME=x",
        "IgnoreUnknown=0;K8S_POD_NAME=x",
        "IgnoreUnknown=x",
        "IgnoreUnknown=",
        ";",
        "IgnoreUnknown=1;",
        ";IgnoreUnknown=1",
        "IgnoreUnknown=1;K=a=b",
        "IP",
        "=x",
        "IP=x",
        "IP=10.0.0.9,x",
        "MAC=02:00",
        "MAC=zz",
    ],
)
def test_wrong_args(text):
    with pytest.raises(CniError) as raised:
        parse_args(text)
    assert raised.value.code == 4


@pytest.mark.parametrize("previous", [{"ips": [{"address": "nonsense"}]}, [], "x", 5, True])
def test_an_invalid_previous_result_fails_add_but_not_del(previous):
    conf = CONF | {"prevResult": previous}
    assert code(conf) == 6
    assert request(conf, COMMAND="DEL").previous is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "name",
                    "cniVersion",
                    "ipam",
                    "ranges",
                    "subnet",
                    "routes",
                    "dst",
                    "prevResult",
                    "ips",
                    "address",
                    "runtimeConfig",
                    "portMappings",
                    "hostPort",
                    "args",
                    "mac",
                ]
            )
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(
    conf=JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60),
    environment=st.dictionaries(
        st.sampled_from([*ENVIRONMENT, "CNI_ARGS"]), st.text(max_size=20), max_size=6
    ),
)
def test_any_input_is_a_request_or_an_error_with_a_code(conf, environment):
    try:
        parsed = parse_request(ENVIRONMENT | environment, conf)
    except CniError as err:
        assert err.code in {1, 2, 3, 4, 5, 6, 7}
        json.dumps(err.document(SUPPORTED[-1]))
    else:
        assert "/" not in parsed.conf.name + parsed.container_id + parsed.ifname


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ({"cniversion": "0.3.1"}, "0.3.1"),
        ({"cniVersion": ""}, "0.1.0"),
        ({"cniVersion": None}, "0.1.0"),
        ({"cniVersion": "1.0.0", "CNIVersion": "0.4.0"}, "0.4.0"),
        ({"cniVersiOn": "9.9.9"}, None),
        ({"cniVersion": "1.0.0", "CNIVersion": "9.9.9"}, None),
    ],
)
def test_the_answer_has_the_version_that_was_checked(versions, expected):
    """Found by atheris: the check read one spelling of the key, the answer any spelling."""
    conf = {key: value for key, value in CONF.items() if key != "cniVersion"} | versions
    if expected is None:
        assert code(conf) == 1
    else:
        assert request(conf).version == expected


@pytest.mark.parametrize("name", ["\udcff", "eth\ud800"])
def test_a_name_that_is_no_unicode_is_refused(name):
    """Found by atheris: such a name has no digest, and no JSON document can contain it."""
    assert code(CONF, IFNAME=name) == 4
    assert "\ufffd" in request(CONF | {"bridge": name}).conf.bridge


@pytest.mark.parametrize("half", ['"\\ud800"', b'"\xed\xa0\x80"'])
def test_half_a_surrogate_pair_is_replaced_as_go_replaces_it(half):
    """No path, link or rule can have it: it was answered as a bug of the plugin."""
    raw = half if isinstance(half, bytes) else half.encode()
    conf = b'{"cniVersion": "1.0.0", "name": "n", "sysctl": {"net.x": ' + raw + b"}}"
    made = request(conf)
    assert set(made.conf.sysctl["net.x"]) == {"\ufffd"}
    pair = conf.replace(raw, b'"\\ud83d\\ude00"')
    assert request(pair).conf.sysctl["net.x"] == "\U0001f600"
