"""podwire's and Kubernetes' versions are each written once, and all statements of them agree."""

import re
from pathlib import Path

from click.testing import CliRunner
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager

from control.agent.node.describe import VERSION, NodeIdentity
from control.runtime.builtin.runtime import BuiltinRuntime
from control.version import KUBERNETES, PODWIRE
from lab.main import main

CHECKOUT = Path(__file__).resolve().parents[2]
HOME = "control/version.py"
ROOMS = ("cni_plugin", "proxy", "control", "lab")


def test_the_command_the_wheel_and_the_runtime_are_of_one_version():
    assert CliRunner().invoke(main, ["--version"]).output == f"podwire, version {PODWIRE}\n"
    assert ProjectMetadata(str(CHECKOUT), PluginManager()).version == PODWIRE
    assert BuiltinRuntime.version == PODWIRE
    assert NodeIdentity("node1", ()).runtime == f"podwire://{PODWIRE}"
    assert VERSION.startswith(f"v{KUBERNETES}-")


def test_neither_version_is_written_a_second_time():
    minor = re.escape(KUBERNETES.rpartition(".")[0])
    # As a value: v1.36.0, kube-probe/1.36. CNI's first version is 0.1.0 too, in tables of versions.
    # v1.33+, say, is a version from which on something holds, not ours.
    stated = re.compile(
        rf"v{minor}\b(?!\+)|[a-z]/{minor}\b"
        rf"|podwire://{PODWIRE}|version = \"{PODWIRE}|version=\"{PODWIRE}"
    )
    sources = [path for room in ROOMS for path in (CHECKOUT / room).rglob("*.*")]
    places = [
        f"{path}: {found[0]}"
        for path in (*sources, CHECKOUT / "pyproject.toml")
        if path.suffix in (".py", ".toml", ".h", ".c") and path != CHECKOUT / HOME
        if (found := stated.search(path.read_text()))
    ]
    assert len(sources) > 100
    assert places == []
