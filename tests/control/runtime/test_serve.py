"""Images as a registry has them, and their names in other registries."""

import hashlib
import io
import tarfile

import pytest
from aiohttp.test_utils import TestClient, TestServer
from click.testing import CliRunner

from control.runtime.images.cli import main
from control.runtime.images.serve import app
from control.runtime.images.store import ImageStore


def fill(root):
    (root / "bin").mkdir()
    (root / "bin/app").write_bytes(b"\x7fELF app")
    (root / "bin/app").chmod(0o755)


@pytest.fixture
def store(tmp_path):
    made = ImageStore(tmp_path / "own", tmp_path / "others")
    made.add_tree("app:1", fill, {"config": {"Cmd": ["/bin/app"], "User": "7"}})
    ImageStore(tmp_path / "others").add_tree("example.org/x/y:2", fill, {})
    return made


@pytest.fixture
async def client(store):
    async with TestClient(TestServer(app(store))) as made:
        yield made


async def test_an_image_is_pulled_part_by_part(client):
    assert (await client.get("/v2/")).status == 200
    path = "/v2/library/app/manifests/1?ns=docker.io"
    head, answer = await client.head(path), await client.get(path)
    digest = answer.headers["Docker-Content-Digest"]
    assert head.headers["Docker-Content-Digest"] == digest
    assert answer.content_type == "application/vnd.oci.image.manifest.v1+json"
    raw = await answer.read()
    assert digest == f"sha256:{hashlib.sha256(raw).hexdigest()}"
    assert await (await client.get(f"/v2/library/app/manifests/{digest}")).read() == raw
    manifest = await answer.json()
    found = {}
    for part in (manifest["config"], *manifest["layers"]):
        blob = await client.get(f"/v2/library/app/blobs/{part['digest']}")
        found[part["digest"]] = content = await blob.read()
        assert part["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
        assert part["size"] == len(content) == blob.content_length
    config = await (await client.get(f"/v2/library/app/blobs/{manifest['config']['digest']}")).json(
        content_type=None
    )
    assert config["config"] == {"Cmd": ["/bin/app"], "User": "7"}
    assert config["rootfs"]["diff_ids"] == [manifest["layers"][0]["digest"]]
    with tarfile.open(fileobj=io.BytesIO(found[manifest["layers"][0]["digest"]])) as layer:
        assert layer.getnames() == ["bin", "bin/app"]


async def test_a_name_belongs_to_its_registry(client):
    assert (await client.get("/v2/x/y/manifests/2?ns=example.org")).status == 200
    assert (await client.get("/v2/x/y/manifests/2")).status == 404
    assert (await client.get("/v2/x/y/manifests/2?ns=example.com")).status == 404


async def test_a_new_content_under_an_old_name_is_another_manifest(client, store):
    path = "/v2/library/app/manifests/1"
    before = (await client.get(path)).headers["Docker-Content-Digest"]
    store.add_tree("app:1", fill, {"config": {"Cmd": ["/bin/other"]}})
    assert (await client.get(path)).headers["Docker-Content-Digest"] != before


@pytest.mark.parametrize(
    "path",
    [
        "library/app/manifests/2",
        "library/app/manifests/1?ns=../..",
        "library/app/manifests/sha256:" + 64 * "0",
        "library/app/blobs/sha256:" + 64 * "0",
        "library/app/blobs/sha256:..",
    ],
)
async def test_what_is_not_there_is_not_found(client, path):
    assert (await client.get(f"/v2/{path}")).status == 404


async def test_nobody_writes(client):
    assert (await client.put("/v2/library/app/manifests/1", data=b"{}")).status == 405


@pytest.mark.parametrize("listen", ["0.0.0.0:5000", "localhost:5000", "127.0.0.1", "10.0.0.1:1"])
def test_it_listens_on_loopback_only(listen):
    done = CliRunner().invoke(main, ["serve", "--listen", listen])
    assert done.exit_code == 2 and "want an address of loopback" in done.output
