"""``podwire image pull`` from Debian's docker-registry, which skopeo filled."""

import gzip
import json
import os
import subprocess
from functools import partial
from pathlib import Path

import pytest

from control.runtime.images import skopeo
from control.runtime.images.names import normalize
from control.runtime.images.pull import PullError, PullOptions, pull
from control.runtime.images.store import ImageStore
from tests.support.control.archives import member, tar
from tests.support.control.layouts import ARCH, blob, blob_of, write_index
from tests.support.control.registry import PASSWORD, USER, Silent, registry

LAYER = tar(member("bin/x", b"program", mode=0o755))
OTHER = "s390x" if ARCH != "s390x" else "riscv64"


@pytest.fixture(scope="module")
def plain(spaces, tmp_path_factory):
    """A registry without TLS and users: one/1 (OCI), two/1 (schema 2), both/1 (two platforms)."""
    with registry(spaces("plain"), tmp_path_factory.mktemp("plain"), 5000) as found:
        layout = write_index(found.folder / "one", blob_of(found.folder / "one", LAYER))
        found.push(f"oci:{layout}", "one:1")
        found.push(f"oci:{layout}", "two:1", "--format=v2s2")
        found.push(f"oci:{several(found.folder / 'both')}", "both:1", "--multi-arch=all")
        yield found


@pytest.fixture(scope="module")
def guarded(spaces, tmp_path_factory):
    """A registry with TLS and a user."""
    folder = tmp_path_factory.mktemp("guarded")
    with registry(spaces("guarded"), folder, 5000, guarded=True) as found:
        layout = write_index(folder / "one", blob_of(folder / "one", LAYER))
        found.push(f"oci:{layout}", "one:1")
        yield found


def several(folder):
    """Write a layout of one image for this machine's platform and for another's."""
    entries = []
    for architecture in (OTHER, ARCH):
        layer = tar(member("bin/x", architecture.encode(), mode=0o755))
        found = blob_of(folder, layer, architecture=architecture)
        entries.append(found | {"platform": {"os": "linux", "architecture": architecture}})
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": entries,
    }
    return write_index(folder, blob(folder, "index", index))


def pulled(from_, name, *options, images):
    done = from_.pull(name, "--tls-verify=false", "-o", "json", *options, images=images)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    identity, config = ImageStore(images).find(found["name"])
    assert identity == found["id"]
    return found, config


def refused(from_, name, *options, images):
    done = from_.pull(name, *options, images=images)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert ImageStore(images).list() == ()
    return done.stderr


def program(config):
    return Path(config.root, "bin/x").read_bytes()


def config_digest(from_, name):
    argv = ("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{from_.host}/{name}")
    return json.loads(from_.space.run(*argv))["config"]["digest"]


@pytest.mark.parametrize("name", ["one:1", "two:1"], ids=["OCI", "schema 2"])
def test_an_image_has_the_registrys_ids_and_can_be_asked_for_by_digest(plain, tmp_path, name):
    found, config = pulled(plain, name, images=tmp_path)
    assert found["name"] == f"{plain.host}/{name}"
    assert found["id"] == config_digest(plain, name)
    assert (program(config), config.command) == (b"program", ("/bin/x",))
    by_digest = f"{name.partition(':')[0]}@{found['digest']}"
    again, _ = pulled(plain, by_digest, images=tmp_path)
    assert again["name"] == f"{plain.host}/{by_digest}"
    assert again["id"] == found["id"]


def test_of_several_platforms_ours_is_taken_or_the_one_asked_for(plain, tmp_path):
    _, config = pulled(plain, "both:1", images=tmp_path)
    assert program(config) == ARCH.encode()
    _, config = pulled(plain, "both:1", f"--platform=linux/{OTHER}", images=tmp_path)
    assert program(config) == OTHER.encode()


@pytest.fixture
def beside(monkeypatch):
    """Let skopeo, as this process's child, run in a registry's namespace."""

    def enter(found):
        real = subprocess.Popen
        monkeypatch.setattr(
            skopeo.subprocess, "Popen", lambda argv, **how: real(found.space.argv(*argv), **how)
        )
        return skopeo.Access(tls_verify=False)

    return enter


@pytest.fixture
def inside(plain, beside):
    return beside(plain)


def test_what_a_registry_refuses_comes_with_the_remedy(plain, inside, tmp_path):
    digest = f"sha256:{5:064}"
    for name, options, why in (
        ("one:1", {"access": skopeo.Access()}, r"has no TLS: --tls-verify=false"),
        ("one:2", {}, r"see its name and tag"),
        (f"one@{digest}", {}, r"see its name and tag"),
        ("both:1", {"platform": "linux/mips"}, r"choose a platform"),
        ("one:1", {"platform": "linux/mips"}, r"wanted is linux/mips"),
        ("one:1", {"platform": "mips"}, r"want OS/ARCH\[/VARIANT\]"),
        ("one:1", {"most_bytes": 100}, r"more than 100 bytes"),
    ):
        wanted = PullOptions(**{"access": inside} | options)
        with pytest.raises(PullError, match=why):
            pull(f"{plain.host}/{name}", wanted, ImageStore(tmp_path), lambda _: None)
    assert ImageStore(tmp_path).list() == ()
    assert [path.name for path in tmp_path.glob(".data/*")] == []


def test_what_the_registry_changed_is_refused(plain, tmp_path):
    layer = tar(member("bin/x", b"to be damaged", mode=0o755))
    folder = tmp_path / "layout"
    plain.push(f"oci:{write_index(folder, blob_of(folder, layer))}", "bad:1")
    stored = [path for path in (plain.folder / "data").rglob("data") if holds(path, layer)]
    for path in stored:
        path.write_bytes(gzip.compress(layer.replace(b"to be damaged", b"now is damage")))
    assert len(stored) == 1
    said = refused(plain, "bad:1", "--tls-verify=false", images=tmp_path / "images")
    assert "Digest did not match" in said


def holds(path, layer):
    content = path.read_bytes()
    return content.startswith(b"\x1f\x8b") and gzip.decompress(content) == layer


def test_a_registry_with_users_and_a_certificate(guarded, beside, tmp_path):
    beside(guarded)
    authfile = tmp_path / "auth.json"
    login = ("--tls-verify=false", f"--authfile={authfile}", f"-u={USER}", f"-p={PASSWORD}")
    guarded.space.run("skopeo", "login", *login, guarded.host)
    trusting = partial(skopeo.Access, cert_dir=guarded.authority)

    def ask(access):
        store = ImageStore(tmp_path / "images")
        return pull(f"{guarded.host}/one:1", PullOptions(access=access), store, lambda _: None)

    for access, why in (
        (skopeo.Access(), "--cert-dir DIR"),
        (trusting(), "--authfile FILE"),
        (trusting(creds=f"{USER}:wrong"), "--authfile FILE"),
    ):
        with pytest.raises(PullError, match=why):
            ask(access)
    assert ask(trusting(creds=f"{USER}:{PASSWORD}")) == ask(trusting(authfile=authfile))


def test_the_password_is_on_no_command_line(guarded, tmp_path, monkeypatch):
    recorder = tmp_path / "bin/skopeo"
    recorder.parent.mkdir()
    recorder.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\nexit 1\n')
    recorder.chmod(0o755)
    monkeypatch.setenv("PATH", f"{recorder.parent}:{os.environ['PATH']}")
    refused(guarded, "one:1", f"--creds={USER}:{PASSWORD}", images=tmp_path / "images")
    words = (tmp_path / "words").read_text()
    assert "--src-authfile=" in words
    assert PASSWORD not in words


def test_no_registry_and_no_network(inside, tmp_path):
    for name in ("localhost:1/x", "10.9.9.9/x", "busybox"):
        with pytest.raises(PullError) as caught:
            pull(name, PullOptions(access=inside), ImageStore(tmp_path), lambda _: None)
        assert "cannot be reached from here" in str(caught.value)
        assert f"then here: podwire image import {normalize(name)} FILE" in str(caught.value)


def test_without_skopeo_its_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(PullError, match="apt-get install skopeo"):
        pull("x", PullOptions(), ImageStore(tmp_path), lambda _: None)


def test_a_registry_that_falls_silent_is_given_up(plain, inside, tmp_path):
    silent = Silent(plain.space, 5099)
    try:
        with pytest.raises(PullError, match="nothing came from the registry for 1 s"):
            options = PullOptions(access=inside, stalled=1.0)
            pull("localhost:5099/x", options, ImageStore(tmp_path), lambda _: None)
    finally:
        silent.close()


def test_progress_is_said(plain, inside, tmp_path):
    said = []
    pull(f"{plain.host}/one:1", PullOptions(access=inside), ImageStore(tmp_path), said.append)
    assert said[-1] == "unpacking"
