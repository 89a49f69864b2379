"""Unusable certificates: the error names the file and the cause."""

import ssl

import pytest

from control.pki import Identity, create_authority, issue
from control.tls import CertificateError, load_authority, load_identity


@pytest.fixture
def folder(tmp_path):
    authority = create_authority("test")
    authority.save(tmp_path, "ca")
    for name in ("one", "other"):
        issue(authority, Identity(name)).save(tmp_path, name)
    (tmp_path / "empty").touch()
    return tmp_path


@pytest.fixture
def context():
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def test_good_files_are_taken(folder, context):
    load_identity(context, folder / "one.crt", folder / "one.key")
    load_authority(context, folder / "ca.crt")
    (held,) = context.get_ca_certs()
    assert held["subject"] == ((("commonName", "test"),),)


@pytest.mark.parametrize(
    ("certificate", "key", "why"),
    [
        ("one.crt", "other.key", "key values mismatch"),
        ("one.crt", "none.key", "No such file or directory"),
        ("empty", "one.key", "no PEM in it"),
        ("one.crt", "empty", "no PEM in it"),
    ],
)
def test_an_identity_names_both_files(folder, context, certificate, key, why):
    text = f"^certificate {folder}/{certificate} with key {folder}/{key}: {why}$"
    with pytest.raises(CertificateError, match=text):
        load_identity(context, folder / certificate, folder / key)


@pytest.mark.parametrize(
    ("name", "why"),
    [("none", "No such file or directory"), ("empty", "no certificate or crl found")],
)
def test_an_authority_names_its_file(folder, context, name, why):
    with pytest.raises(
        CertificateError, match=f"^certificates of authority {folder}/{name}: {why}$"
    ):
        load_authority(context, folder / name)
