"""Kubeconfigs: valid ones, and the error of each broken one."""

import base64

import pytest
import yaml

from control.client.kubeconfig import KubeconfigError, load

INLINE = base64.b64encode(b"PEM").decode()


def config(**change) -> dict:
    whole = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443/"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    return whole | change


@pytest.fixture
def written(tmp_path):
    def write(content) -> str:
        file = tmp_path / "config"
        file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return str(file)

    return write


def test_the_current_context_is_taken(written):
    found = load(written(config()))
    assert found.server == "https://10.0.0.1:6443"
    assert (found.credentials.token, found.namespace, found.insecure) == ("t", "default", False)


def test_inline_data_wins_over_files_and_files_are_relative_to_the_kubeconfig(written, tmp_path):
    (tmp_path / "key.pem").write_bytes(b"KEY")
    (tmp_path / "ca.pem").write_bytes(b"CA")
    user = {
        "client-certificate-data": INLINE,
        "client-certificate": "missing.pem",
        "client-key": "key.pem",
    }
    cluster = {"server": "https://h", "certificate-authority": "ca.pem"}
    path = written(
        config(users=[{"name": "u", "user": user}], clusters=[{"name": "c", "cluster": cluster}])
    )
    found = load(path)
    assert (found.credentials.certificate, found.credentials.key) == (b"PEM", b"KEY")
    assert found.ca == b"CA"


def test_another_context_can_be_chosen(written):
    contexts = [{"name": "there", "context": {"cluster": "c", "namespace": "n"}}]
    assert load(written(config(contexts=contexts)), "there").namespace == "n"


def user(**entry) -> dict:
    return config(users=[{"name": "u", "user": entry}])


def cluster(**entry) -> dict:
    return config(clusters=[{"name": "c", "cluster": entry}])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a: [", "is not YAML"),
        ("", "is empty"),
        ("- 1", "not a mapping"),
        (config(**{"current-context": ""}), "no current-context"),
        (config(**{"current-context": "x"}), "no context named x (it has: here)"),
        (config(contexts=None), "no context named here (it has: none)"),
        (config(clusters=[]), "no cluster named c"),
        (config(users=[]), "no user named u"),
        (config(contexts=[{"name": "here", "context": {}}]), "context here has no cluster"),
        (config(contexts=[{"name": "here"}]), "context here is not a mapping"),
        (cluster(), "cluster c has no server"),
        (cluster(server="10.0.0.1"), "not an http(s) URL"),
        (cluster(server="https://h", **{"proxy-url": "http://p"}), "has a proxy-url"),
        (cluster(server="https://h", **{"certificate-authority": "x"}), "x cannot be read"),
        (cluster(server="https://h", **{"certificate-authority-data": "!"}), "is not base64"),
        (user(exec={"command": "aws"}), "user u uses exec"),
        (user(**{"client-key-data": INLINE}), "has no client-certificate"),
        (user(**{"client-certificate-data": INLINE}), "has no client-key"),
        (user(**{"client-key": "nope"}), "nope cannot be read: No such file"),
    ],
)
def test_errors_of_broken_kubeconfigs(written, content, says):
    path = written(content)
    with pytest.raises(KubeconfigError) as caught:
        load(path)
    assert says in str(caught.value) and path in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(KubeconfigError, match="kubeconfig /nope: cannot be read"):
        load("/nope")
