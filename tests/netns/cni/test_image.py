"""Calls without a server, from an image of the plugin, and where no image fits."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cni_plugin.admin.standalone import HOME, IMAGE, PROGRAM
from tests.support.cni.runner import ROOT, Node, Pod
from tests.support.space import Space

Spaces = Callable[[str], Space]
CLIENTS = pytest.mark.parametrize("client", ["client", "python_client"])
_INSTALL = "import sys; from pathlib import Path; from cni_plugin.admin import standalone; "
# The plugin from its image, as a client loads it; then the modules that Python has.
_THAW = """
import marshal, sys
data = open(sys.argv[1], "rb").read()
version = sys.version.encode() + b"\\0"
sources, folders, code = marshal.loads(data[len(version):])
before = set(sys.modules)
run = type(lambda: 0)(code, {"__builtins__": __builtins__})()
marshal.loads = None  # so that no function that is asleep can be woken
assert run() == 0
for name in set(sys.modules) - before:
    module = sys.modules[name]
    origin = module.__spec__.origin if type(module) is type(sys) else "stand-in"
    print(name, origin, file=sys.stderr)
"""


@pytest.fixture
def node(spaces: Spaces, tmp_path: Path) -> Node:
    return Node(spaces("node"), tmp_path)


@pytest.fixture
def install(node: Node) -> Callable[..., Path]:
    """Copies the plugin, lets the copy be changed, installs from it; returns the copy."""

    def installed(client: str, file: str = "", old: str = "", new: str = "") -> Path:
        copy = node.files / "copy"
        shutil.copytree(ROOT / "cni_plugin", copy / "cni_plugin")
        shutil.copytree(ROOT / "build/client", copy / "build/client")
        shutil.copytree(ROOT / "bin", copy / "bin")
        if file:
            edit(copy / "cni_plugin" / file, old, new)
        node.plugin = node.files / "bin" / PROGRAM
        put = f"standalone.put_{client}(Path(sys.argv[1]))"
        subprocess.run(
            [sys.executable, "-c", _INSTALL + put, node.plugin],
            check=True,
            cwd=copy,
        )
        image = (node.plugin.parent / HOME / IMAGE).read_bytes()
        assert image.startswith(sys.version.encode())
        return copy

    return installed


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_call_imports_only_what_is_compiled(node: Node, pod: Callable[[], Pod]) -> None:
    """Of Python's own library too, and all that it calls is awake: that is what makes it fast."""
    one = pod()
    conf = node.conf(ipMasq=True, ipam=node.ipam("10.1.0.0/24", "fd00:1::/64"))
    imports = {}
    for verb in ("ADD", "DEL"):
        done = subprocess.run(
            one_call(node, "/usr/bin/python3", "-IS", "-c", _THAW, ROOT / f"build/{HOME}/{IMAGE}"),
            input=json.dumps(conf).encode(),
            env=variables(verb, one),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done
        lines = done.stderr.decode().splitlines()
        compiled = (".so", "built-in", "stand-in")
        imports[verb] = {line for line in lines if not line.endswith(compiled)}
    assert imports == {"ADD": set(), "DEL": set()}


@CLIENTS
def test_a_usual_call_needs_no_codec_of_pythons_library(
    client: str, node: Node, pod: Callable[[], Pod], install: Callable[..., Path]
) -> None:
    """Python has not imported ``encodings`` when an installed client runs: it takes over 1 ms."""
    finder = "    import encodings\n"
    install(client, "../bin/podwire-cni", finder, f"    write(2, b'looked up')\n{finder}")
    conf = node.conf(ipMasq=True, ipam=node.ipam("10.1.0.0/24", "fd00:1::/64"))
    one = pod()
    for verb in ("ADD", "DEL", "VERSION"):
        assert node.call(verb, one, conf).ok().stderr == b""
    conf |= {"ipam": conf["ipam"] | {"resolvConf": "/etc/hostname"}}
    assert node.call("ADD", one, conf).ok().stderr == b"looked up"
    node.delete(one, conf)


def one_call(node: Node, *argv: str | Path) -> list[str]:
    return node.space.argv(*map(str, argv))


def variables(verb: str, pod: Pod) -> dict[str, str]:
    return {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": pod.container_id,
        "CNI_NETNS": str(pod.space.path),
        "CNI_IFNAME": "eth0",
    }


@CLIENTS
def test_what_needs_codecs_files_and_other_programs(
    client: str, node: Node, pod: Callable[[], Pod], install: Callable[..., Path]
) -> None:
    """Python has not set up any of these yet when an installed client runs."""
    install(client)
    data, resolv = node.files / "où", node.files / "resolv"
    resolv.write_text("nameserver 10.0.0.1\n# naïve\n")
    ours = node.ipam("10.1.0.0/24", dataDir=str(data), resolvConf=str(resolv))
    one = pod()
    assert node.add(one, node.conf(ipam=ours))["dns"] == {"nameservers": ["10.0.0.1"]}
    assert (data / "net/10.1.0.2").exists()
    node.delete(one, node.conf(ipam=ours))
    ipam = {"type": "static", "addresses": [{"address": "10.1.0.7/24"}]}
    static = node.conf(cniVersion="1.0.0", ipam=ipam)
    assert node.add(one, static)["ips"][0]["address"] == "10.1.0.7/24"
    node.delete(one, static)


@CLIENTS
def test_a_bug_is_one_document_and_a_traceback(
    client: str, node: Node, install: Callable[..., Path]
) -> None:
    verb = 'return {"cniVersion": request.version'
    install(client, "verbs/answer.py", verb, 'raise RuntimeError("bang")\n    ' + verb)
    answer = node.execute({"cniVersion": "1.0.0"}, command="VERSION")
    assert (answer.code, answer.document["code"]) == (1, 100)
    assert answer.document["msg"] == "podwire-cni has a bug: RuntimeError('bang')"
    first, *_, last = answer.stderr.decode().splitlines()
    assert first == "podwire-cni: ERROR: podwire-cni has a bug"
    assert last == "RuntimeError: bang"


@CLIENTS
def test_a_changed_source_is_what_counts(
    client: str, node: Node, install: Callable[..., Path]
) -> None:
    copy = install(client)
    edit(copy / "cni_plugin/spec/request.py", "is not known", "is unheard of")
    answer = node.execute({"cniVersion": "1.0.0"}, command="DANCE")
    assert answer.document["msg"] == "CNI_COMMAND 'DANCE' is unheard of"
    assert answer.stderr == b""


@CLIENTS
@pytest.mark.parametrize("damage", ["cut", "another version", "none"])
def test_a_call_without_an_image_that_works(
    client: str, damage: str, node: Node, install: Callable[..., Path]
) -> None:
    install(client)
    image = node.plugin.parent / HOME / IMAGE
    data = image.read_bytes()
    match damage:
        case "cut":
            image.write_bytes(data[: len(data) // 2])
        case "another version":
            image.write_bytes(b"9.9" + data)
        case "none":
            image.unlink()
    answer = node.execute({"cniVersion": "1.0.0"}, command="VERSION").ok()
    assert "1.1.0" in answer.document["supportedVersions"]
    said = answer.stderr.decode()
    assert said.startswith(f"podwire-cni: {image} does not work: ") if damage == "cut" else not said
