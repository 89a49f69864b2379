"""Certificates that TLS accepts or refuses."""

import ssl

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import NameOID

from control.pki import Identity, Pair, create_authority, hosts_of_server, issue, kubeconfig


@pytest.fixture(scope="module")
def authority():
    return create_authority("test")


def shake_hands(tmp_path, server_pair, client_authority, hostname):
    """Do a TLS handshake in memory; raises ssl.SSLError if a side refuses."""
    server_pair.save(tmp_path, "server")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    client = ssl.create_default_context(cadata=client_authority.certificate.decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = server.wrap_bio(to_server, to_client, server_side=True)
    other = client.wrap_bio(to_client, to_server, server_hostname=hostname)
    for _ in range(10):
        pending = 0
        for side in (other, one):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pending += 1
        if not pending:
            return
    raise AssertionError("the handshake does not end")


@pytest.mark.parametrize("host", ["127.0.0.1", "172.31.0.10", "kubernetes.default.svc", "fd00::1"])
def test_a_client_trusts_the_server_under_each_of_its_names(authority, tmp_path, host):
    hosts = hosts_of_server(("control",), ("172.31.0.10", "fd00::1"))
    shake_hands(
        tmp_path, issue(authority, Identity("kube-apiserver", hosts=hosts)), authority, host
    )


def test_a_client_refuses_a_server_with_another_name(authority, tmp_path):
    pair = issue(authority, Identity("kube-apiserver", hosts=("127.0.0.1",)))
    with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
        shake_hands(tmp_path, pair, authority, "10.0.0.1")


def test_a_client_refuses_another_authority(authority, tmp_path):
    pair = issue(create_authority("other"), Identity("kube-apiserver", hosts=("127.0.0.1",)))
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(tmp_path, pair, authority, "127.0.0.1")


def test_user_and_groups_are_cn_and_o(authority):
    pair = issue(authority, Identity("system:node:n1", ("system:nodes", "more")))
    subject = x509.load_pem_x509_certificate(pair.certificate).subject
    assert [a.value for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == [
        "system:node:n1"
    ]
    groups = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    assert {a.value for a in groups} == {"system:nodes", "more"}


def test_only_the_owner_can_read_a_saved_key(authority, tmp_path):
    authority.save(tmp_path, "ca")
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600
    assert Pair.load(tmp_path, "ca") == authority


def test_a_kubeconfig_names_one_current_context(authority):
    pair = issue(authority, Identity("admin", ("system:masters",)))
    document = yaml.safe_load(
        kubeconfig("lab", "https://127.0.0.1:1", authority.certificate, "admin", pair)
    )
    assert document["current-context"] == document["contexts"][0]["name"] == "lab"
    assert document["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:1"
