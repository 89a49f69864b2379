"""Values at rest: what the store holds, what is refused, and how keys are rotated."""

import asyncio
import base64
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from control.store import StoreConfigError, cli, encrypted, open_store
from control.store.base import Create, Store, StoreDamagedError, Update
from control.store.memory import MemoryStore

SECRET, OTHER = "/registry/core/secrets/ns/a", "/registry/core/configmaps/ns/a"
KEYS = {size: base64.b64encode(bytes(range(size))).decode() for size in (16, 24, 32)}
NEWER = base64.b64encode(bytes(32)).decode()


def provider(kind: str, *keys: tuple[str, str]) -> dict[str, Any]:
    return {kind: {"keys": [{"name": name, "secret": secret} for name, secret in keys]}}


OLD = provider("aesgcm", ("old", KEYS[32]))
PLAIN: dict[str, Any] = {"identity": {}}


def config(tmp_path: Path, *providers: dict[str, Any], resources: Any = ("secrets",)) -> Path:
    path = tmp_path / "encryption.yaml"
    rules = [{"resources": [*resources], "providers": [*providers]}]
    head = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration"}
    path.write_text(yaml.safe_dump(head | {"resources": rules}))
    return path


async def stored(inner: Store, key: str = SECRET) -> bytes:
    found = await inner.get(key)
    assert found
    return found.value


@pytest.mark.parametrize(
    ("way", "mark"),
    [
        *((provider("aesgcm", ("k1", KEYS[size])), b"k8s:enc:aesgcm:v1:k1:") for size in KEYS),
        (provider("aescbc", ("k2", KEYS[32])), b"k8s:enc:aescbc:v1:k2:"),
    ],
)
async def test_chosen_values_are_ciphertext_in_the_store_alone(
    tmp_path: Path, way: dict[str, Any], mark: bytes
) -> None:
    inner = MemoryStore()
    store = encrypted(inner, config(tmp_path, way))
    start = store.revision
    await store.commit(Create(SECRET, b"password"), Create(OTHER, b"open"))
    await store.commit(Update(SECRET, b"password"))
    first = await stored(inner)
    assert first.startswith(mark) and b"password" not in first
    assert await stored(inner, OTHER) == b"open"
    found = await store.get(SECRET)
    assert found and found.value == b"password"
    assert [one.value for one in (await store.list("/")).records] == [b"open", b"password"]
    heard = await anext(store.watch("/", start))
    assert [event.value for event in heard.events] == [b"password", b"open", b"password"]
    await store.commit(Update(SECRET, b"password"))
    assert await stored(inner) != first, "a nonce is used once"


async def test_a_value_that_was_moved_or_changed_is_refused(tmp_path: Path) -> None:
    inner = MemoryStore()
    store = encrypted(inner, config(tmp_path, OLD))
    await store.commit(Create(SECRET, b"password"))
    moved = f"{SECRET}-of-another"
    await inner.commit(Create(moved, await stored(inner)))
    with pytest.raises(StoreDamagedError, match="key k8s:enc:aesgcm:v1:old: does not decrypt it"):
        await store.get(moved)
    value = bytearray(await stored(inner))
    value[-1] ^= 1
    await inner.commit(Update(SECRET, bytes(value)))
    with pytest.raises(StoreDamagedError, match=SECRET):
        await store.list("/")


async def test_without_its_key_a_value_is_named(tmp_path: Path) -> None:
    inner = MemoryStore()
    await encrypted(inner, config(tmp_path, OLD)).commit(Create(SECRET, b"password"))
    for way in (PLAIN, provider("aesgcm", ("new", KEYS[16]))):
        with pytest.raises(StoreDamagedError, match="no key k8s:enc:aesgcm:v1:old: is in the"):
            await encrypted(inner, config(tmp_path, way)).get(SECRET)


def test_what_was_there_is_encrypted_and_keys_are_rotated(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/store.db"
    new = provider("aescbc", ("new", NEWER))

    async def make() -> None:
        store = await open_store(url)
        await store.commit(Create(SECRET, b"password"), Create(OTHER, b"open"))
        await store.close()

    async def read(file: Path) -> bytes:
        store = encrypted(await open_store(url), file)
        try:
            found = await store.get(SECRET)
        finally:
            await store.close()
        assert found
        return found.value

    def encrypt(*ways: dict[str, Any]) -> str:
        file = config(tmp_path, *ways)
        argv = ["encrypt", url, "--encryption-provider-config", str(file)]
        done = CliRunner().invoke(cli.main, argv)
        assert done.exit_code == 0, done.output
        assert asyncio.run(read(file)) == b"password"
        with sqlite3.connect(tmp_path / "store.db") as held:
            query = "SELECT value FROM log WHERE key = ? ORDER BY revision DESC LIMIT 1"
            value: bytes = held.execute(query, (SECRET,)).fetchone()[0]
        held.close()
        assert done.output.startswith(f"{0 if not ways[1:] and ways[0] is new else 1} values of")
        return value.split(b":v1:")[0].decode()

    asyncio.run(make())
    assert encrypt(OLD, PLAIN) == "k8s:enc:aesgcm"
    assert encrypt(new, OLD) == "k8s:enc:aescbc"
    assert encrypt(new) == "k8s:enc:aescbc"
    assert encrypt(PLAIN, new) == "password"


@pytest.mark.parametrize(
    ("resources", "encrypted_ones"),
    [
        (["secrets"], [SECRET]),
        (["*."], [SECRET, OTHER]),
        (["*.*"], [SECRET, OTHER, "/registry/apps/deployments/ns/a"]),
        (["deployments.apps"], ["/registry/apps/deployments/ns/a"]),
        (["*.apps", "secrets"], [SECRET, "/registry/apps/deployments/ns/a"]),
    ],
)
async def test_resources_are_named_as_upstream_names_them(
    tmp_path: Path, resources: list[str], encrypted_ones: list[str]
) -> None:
    inner = MemoryStore()
    store = encrypted(inner, config(tmp_path, OLD, resources=resources))
    keys = (SECRET, OTHER, "/registry/apps/deployments/ns/a", "/registry/apps/deploymentsx/ns/a")
    for key in keys:
        await store.commit(Create(key, b"x"))
    found = [key for key in keys if (await stored(inner, key)).startswith(b"k8s:enc:")]
    assert [key for key in found if not key.startswith("/registry/apps/deploymentsx")] == (
        encrypted_ones
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"providers": [{"secretbox": {"keys": []}}]}, "podwire has aesgcm, aescbc and identity"),
        ({"providers": [{"kms": {}}]}, "podwire has aesgcm, aescbc and identity"),
        ({"providers": []}, "resources.0.providers"),
        ({"providers": [{}]}, "one of aesgcm, aescbc and identity"),
        ({"providers": [OLD | PLAIN]}, "one of aesgcm, aescbc and identity"),
        ({"providers": [provider("aescbc", ("k", KEYS[16]))]}, "key k: .* 16 bytes, want 32"),
        ({"providers": [provider("aesgcm", ("k", "hunter2!"))]}, "key k: .* is not base64"),
        ({"providers": [provider("aesgcm", ("a:b", KEYS[16]))]}, "name"),
        ({"resources": ["*"]}, r"resource '\*'"),
        ({"resources": ["a/b"]}, "resource 'a/b'"),
        ({"more": 1}, "more"),
    ],
)
def test_a_wrong_configuration_is_named_and_shows_no_key(
    tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    path = config(tmp_path, OLD)
    found = yaml.safe_load(path.read_text())
    found["resources"][0] |= change
    path.write_text(yaml.safe_dump(found))
    with pytest.raises(StoreConfigError, match=why) as refused:
        encrypted(MemoryStore(), path)
    assert "hunter2" not in str(refused.value) and str(path) in str(refused.value)


@pytest.mark.parametrize("text", ["", "[", "kind: Pod", "a: *b", "\0"])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(text)
    with pytest.raises(StoreConfigError, match=r"other\.yaml"):
        encrypted(MemoryStore(), path)
