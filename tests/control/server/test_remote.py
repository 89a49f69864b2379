"""TLS to servers that extend this one: what is read once, and what is read anew."""

import ssl
from pathlib import Path

import pytest

from control.pki import Identity, create_authority, issue
from control.server.remote import client
from control.server.remote.client import tls_context
from control.server.remote.services import RemoteError


@pytest.fixture(autouse=True)
def nothing_known():
    client._context.cache_clear()
    yield
    client._context.cache_clear()


def test_the_systems_authorities_are_read_once(monkeypatch):
    read: list[ssl.SSLContext] = []
    load = ssl.SSLContext.load_default_certs

    def counted(context: ssl.SSLContext) -> None:
        read.append(context)
        load(context)

    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", counted)
    first, second = (tls_context("webhook", b"") for _ in range(2))
    assert first is second
    assert len(read) == 1
    assert first.verify_mode == ssl.CERT_REQUIRED
    assert first.check_hostname


def test_each_authority_has_a_context_of_its_own():
    one, other = (create_authority(name).certificate for name in ("a", "b"))
    assert tls_context("webhook", one) is tls_context("webhook", one)
    assert tls_context("webhook", one) is not tls_context("webhook", other)
    (own,) = tls_context("webhook", one).get_ca_certs()
    assert "a" in str(own["subject"])
    assert tls_context("x", one, unverified=True).verify_mode == ssl.CERT_NONE
    assert tls_context("x", one).verify_mode == ssl.CERT_REQUIRED


def test_a_renewed_certificate_is_used_at_once(tmp_path: Path):
    authority = create_authority("a")
    files = tmp_path / "me.crt", tmp_path / "me.key"
    issue(authority, Identity("me")).save(tmp_path, "me")
    first = tls_context("x", authority.certificate, files)
    assert tls_context("x", authority.certificate, files) is first
    issue(authority, Identity("me")).save(tmp_path, "me")
    assert tls_context("x", authority.certificate, files) is not first


def test_a_certificate_that_is_gone_is_named(tmp_path: Path):
    with pytest.raises(RemoteError, match=r"APIService v1\.x: caBundle or certificate: .*me\.crt"):
        tls_context("APIService v1.x", b"", (tmp_path / "me.crt", tmp_path / "me.key"))
    with pytest.raises(RemoteError, match="webhook: caBundle or certificate"):
        tls_context("webhook", b"no PEM")
