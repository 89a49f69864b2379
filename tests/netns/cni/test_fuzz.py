"""Hostile environments, configurations, arguments and socket bytes, guided by coverage (atheris).

Some seconds of it in every run; ``PODWIRE_FUZZ_SECONDS=600 bin/test tests/netns/cni/test_fuzz.py``
looks longer, from another beginning each time. What it finds is printed, and fails.
"""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.support.cni import rows, rows_more
from tests.support.cni.bench import Bench
from tests.support.cni.runner import ROOT, Answer, Json, Node
from tests.support.space import Space

LONG = int(os.environ.get("PODWIRE_FUZZ_SECONDS", "0"))
POD = Path("/pod")
RESULT = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "b1"}, {"name": "pwx"}, {"name": "eth0", "sandbox": str(POD)}],
    "ips": [{"address": "10.1.0.2/24", "gateway": "10.1.0.1", "interface": 2}],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}],
    "dns": {},
}
EXTRAS = [
    {"vlan": 7, "vlanTrunk": [{"minID": 5, "maxID": 9}, {"id": 3}], "preserveDefaultVlan": True},
    {
        "sysctl": {"net.ipv4.conf.IFNAME.arp_notify": "1"},
        "promisc": True,
        "txQLen": 7,
        "mode": "ptp",
    },
    {"conditionsV4": ["ip saddr 192.0.2.1"], "ingressPolicy": "isolated", "macspoofchk": True},
    {"args": {"cni": {"ips": ["10.1.0.9/24"], "mac": "02:00:00:00:00:01"}}, "mtu": 1400},
]


class NoSpace:
    """A fake namespace in which every command succeeds."""

    path = POD

    def ip(self, *args: str) -> str:
        return "[]"

    def run(self, *argv: str, **more: Any) -> str:
        return "[]"


@dataclass
class Recorder(Node):
    """A node that records calls instead of executing them."""

    seen: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make no folders."""

    def execute(
        self,
        conf: Json | bytes,
        plugin: Path | None = None,
        environment: dict[str, str] | None = None,
        **variables: str | None,
    ) -> Answer:
        given = {f"CNI_{name.upper()}": value for name, value in variables.items() if value}
        stdin = conf if isinstance(conf, bytes) else json.dumps(conf).encode()
        self.seen.append((given, stdin))
        return Answer(0, json.dumps(RESULT).encode(), b"")


def conformance_requests(folder: Path) -> Iterator[tuple[dict[str, str], bytes]]:
    """The calls of the conformance table's rows, up to the first check that fails."""
    for number, row in enumerate([*rows.ROWS, *rows_more.ROWS], 1):
        node = Recorder(NoSpace(), folder / str(number))  # type: ignore[arg-type]
        node.files.mkdir()
        with suppress(Exception):
            row.check(Bench(node, lambda name: NoSpace(), number % 200))  # type: ignore[arg-type]
        yield from node.seen


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[bytes, bytes]]:
    """Write the seeds: environments and standard inputs."""
    folder = tmp_path_factory.mktemp("rows")
    asked = list(conformance_requests(folder))
    node = Recorder(NoSpace(), folder)  # type: ignore[arg-type]
    given = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": str(POD),
        "CNI_ARGS": "IgnoreUnknown=1;IP=10.1.0.7;MAC=02:00:00:00:00:01",
    }
    away = {"ipam": node.ipam("10.1.0.0/24", dataDir="/../../../../../../outside/../x")}
    asked += [(given, json.dumps(node.conf(**more)).encode()) for more in (*EXTRAS, away)]
    texts = ("\0".join(f"{name}={value}" for name, value in env.items()) for env, _ in asked)
    return [(text.encode(), stdin) for text, (_, stdin) in zip(texts, asked, strict=True)]


def as_request(environment: bytes, stdin: bytes) -> bytes:
    return environment + b"\0\0" + stdin


def as_frame(environment: bytes, stdin: bytes) -> bytes:
    return b"\0" + struct.pack("!4sII", b"PWC1", len(environment), len(stdin)) + environment + stdin


KINDS = [("request", as_request), ("socket", as_frame), *([("kernel", as_request)] if LONG else [])]


@pytest.mark.skipif(not find_spec("atheris"), reason="atheris has no wheel for this machine")
@pytest.mark.parametrize(("kind", "packed"), KINDS)
@pytest.mark.timeout(300 + 2 * LONG)
def test_no_hostile_input_breaks_the_plugin(
    kind: str,
    packed: Callable[[bytes, bytes], bytes],
    requests: list[tuple[bytes, bytes]],
    spaces: Callable[[str], Space],
    tmp_path: Path,
) -> None:
    corpus, words = tmp_path / "corpus", set()
    corpus.mkdir()
    for number, (environment, stdin) in enumerate(requests):
        (corpus / f"seed{number}").write_bytes(packed(environment, stdin))
        words |= {word for word in stdin.decode(errors="replace").split('"') if word.isalnum()}
    (tmp_path / "words").write_text("".join(f'"\\"{word}\\""\n' for word in sorted(words)))
    root = tmp_path / "root"
    root.mkdir()
    limits = (
        [f"-max_total_time={LONG}"] if LONG else ["-runs=20000", "-max_total_time=6", "-seed=1"]
    )
    done = subprocess.run(
        spaces("node").argv(
            sys.executable,
            "-m",
            "tests.support.cni.fuzz",
            kind,
            str(root),
            str(corpus),
            *limits,
            "-max_len=4096",
            "-timeout=30",
            "-rss_limit_mb=2048",
            "-verbosity=1",
            f"-dict={tmp_path / 'words'}",
            f"-artifact_prefix={tmp_path}/found-",
        ),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = {path.name: path.read_bytes() for path in tmp_path.glob("found-*")}
    assert not found, f"{found}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(requests) > 60
    print(done.stderr[-300:])
