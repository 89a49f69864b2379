"""The keys that control planes have in common: sealed, opened, and refused."""

from pathlib import Path

import pytest

from control.api import kinds
from control.client import ApiError
from control.client.kubeconfig import Credentials
from control.install import sharing
from control.install.layout import InstallError, Layout
from control.install.sharing import FILES, check_key, create_key, download, opened, save, sealed
from tests.support.control.joinable import TOKEN, Joinable


def test_what_is_sealed_is_opened_by_its_key_alone():
    key = create_key()
    content = sealed(b"secret", key)
    assert b"secret" not in content and sealed(b"secret", key) != content
    assert opened(content, key) == b"secret"
    for broken in (content[:-1], b"", bytes(40)):
        with pytest.raises(InstallError, match="is not the one of Secret"):
            opened(broken, key)
    with pytest.raises(InstallError, match="podwire certs upload"):
        opened(content, create_key())


@pytest.mark.parametrize("text", ["", "abc", "g" * 64, "A" * 64])
def test_a_key_that_is_none_is_not_repeated(text: str):
    with pytest.raises(InstallError) as caught:
        check_key(text)
    assert "64 hexadecimal digits" in str(caught.value)
    assert not text or text not in str(caught.value)


def pki(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "first")
    layout.pki.mkdir(parents=True)
    for name in FILES:
        (layout.pki / name).write_text(f"of {name}")
    return layout


async def test_a_token_reads_what_a_key_opens(joinable: Joinable, tmp_path: Path):
    layout, key = pki(tmp_path), create_key()
    async with joinable.client(Credentials(token=str(TOKEN))) as client:
        with pytest.raises(InstallError, match="has no Secret kube-system/kubeadm-certs"):
            await download(client, key)
        await sharing.upload(joinable.admin, layout, key)
        files = await download(client, key)
        assert files == {name: f"of {name}".encode() for name in FILES}
        with pytest.raises(ApiError):
            await client.get(kinds.SECRET, "kube-system", f"bootstrap-token-{TOKEN.id}")
    save(tmp_path / "pki", files)
    assert (tmp_path / "pki/ca.key").stat().st_mode & 0o777 == 0o600


async def test_the_secret_ends_with_a_token_that_lets_nobody_in(joinable: Joinable, tmp_path: Path):
    layout = pki(tmp_path)
    for _ in range(2):  # the second replaces the first
        await sharing.upload(joinable.admin, layout, create_key())
    secrets = (await joinable.admin.list(kinds.SECRET, "kube-system")).items
    (held,) = [s for s in secrets if s.metadata.name == sharing.NAME]
    (owner,) = held.metadata.owner_references
    (token,) = [s for s in secrets if s.metadata.uid == owner.uid]
    assert "expiration" in token.data
    assert not [key for key in token.data if key.startswith("usage-")]
