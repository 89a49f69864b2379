"""Every parser that a request reaches answers any bytes with a refusal, never with a bug.

``PODWIRE_FUZZ_SECONDS=600 bin/test tests/control/server/test_fuzz.py`` looks longer.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.cni.runner import ROOT
from tests.support.control.parsers import PARSERS, feed, seeds

LONG = int(os.environ.get("PODWIRE_FUZZ_SECONDS", "0"))
SEEDS = seeds()
# What once ended as a 500.
FOUND = {
    "yaml": [
        b"x: 1" + b"0" * 6000,
        b"!!set {a}",
        b"!!binary aGk=",
        b"!!timestamp 2001-01-01",
        b"[" * 9000,
    ],
    "authorization": [b"\xff", b"Bearer \xed\xa0\x80"],
    "operations": [
        b'[{"op":[],"path":"/a"}]',
        b'[{"op":"add","path":"/spec/tolerations/' + b"9" * 5000 + b'","value":1}]',
        b'[{"op":"copy","from":"","path":"/a"}'
        + b',{"op":"copy","from":"","path":"/a"}' * 60
        + b"]",
    ],
    "patch": [
        b'{"$retainKeys":[{}]}',
        b'{"metadata":{"finalizers":[{}],"$deleteFromPrimitiveList/finalizers":[[]]}}',
        b'{"spec":{"containers":[{"name":{}}],"$setElementOrder/containers":[{"name":[]}]}}',
        b'{"metadata":{"$patch":[]}}',
    ],
}


@pytest.mark.parametrize("name", PARSERS)
def test_what_once_failed_is_refused(name: str):
    for data in [*SEEDS[name], *FOUND.get(name, ()), b"", b"\0", b"\xff" * 9]:
        feed(name, data)


@pytest.mark.parametrize("name", PARSERS)
def test_any_bytes_are_refused_or_understood(name: str):
    base = max(SEEDS[name], key=len)
    piece = st.sampled_from([bytes([n]) for n in b'{}[]",:/=&;%\\\0'] + [b"\xff", b"null", b"-1e9"])
    places = st.lists(
        st.tuples(st.integers(0, len(base)), piece | st.binary(max_size=4)), max_size=6
    )

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=64) | places)
    @example(b"")
    def check(given_: bytes | list[tuple[int, bytes]]) -> None:
        data = given_ if isinstance(given_, bytes) else base
        for at, changed in [] if isinstance(given_, bytes) else given_:
            data = data[:at] + changed + data[at + len(changed) :]
        feed(name, data)

    check()


@pytest.mark.skipif(not find_spec("atheris"), reason="atheris has no wheel for this machine")
@pytest.mark.timeout(300 + 2 * LONG)
def test_no_input_that_coverage_finds_breaks_a_parser(tmp_path: Path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, (name, samples) in enumerate(SEEDS.items()):
        at = bytes([list(PARSERS).index(name)])
        for index, sample in enumerate([*samples, *FOUND.get(name, ())]):
            (corpus / f"{number}-{index}").write_bytes(at + sample)
    limits = [f"-max_total_time={LONG}"] if LONG else ["-runs=4000", "-max_total_time=5", "-seed=1"]
    options = ["-max_len=4096", "-timeout=30", "-rss_limit_mb=2048", "-verbosity=1"]
    argv = [sys.executable, "-m", "tests.support.control.fuzz", str(corpus), *limits, *options]
    done = subprocess.run(
        [*argv, f"-artifact_prefix={tmp_path}/found-"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = {path.name: path.read_bytes() for path in tmp_path.glob("found-*")}
    assert not found, f"{found}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert done.returncode == 0, done.stderr[-3000:]
