"""Credentials of registries: which of them an image gets, by kubelet's rules."""

import base64
import json

import pytest

from control.agent.images.keyring import (
    JSON_KEY,
    JSON_TYPE,
    OLD_KEY,
    OLD_TYPE,
    Keyring,
    KeyringError,
    PullSecret,
    SecretRef,
    lookup,
)

REF = SecretRef("default", "pull", "uid-1")


def auths(*places):
    """Return a Docker configuration: the user of each place is the place."""
    return json.dumps({"auths": {it: {"username": it, "password": "p"} for it in places}}).encode()


def users(repository, *places):
    keyring = Keyring()
    keyring.add(auths(*places), "test", old=False)
    return [login.credentials.user for login in keyring.lookup(repository)]


@pytest.mark.parametrize(
    ("place", "repository", "matches"),
    [
        ("example.com", "example.com/a/b", True),
        ("https://example.com", "example.com/a", True),
        ("https://example.com/v1/", "example.com/a", True),
        ("example.com/v2/team", "example.com/team/a", True),
        ("example.com/team", "example.com/team/a", True),
        ("example.com/team", "example.com/other/a", False),
        ("example.com:5000", "example.com/a", False),
        ("example.com:5000", "example.com:5000/a", True),
        ("*.example.com", "eu.example.com/a", True),
        ("*.example.com", "example.com/a", False),
        ("*.example.com", "a.b.example.com/a", False),
        ("pre*.example.com", "prefix.example.com/a", True),
        ("a?.io", "ab.io/x", False),
        ("[::1]:5000", "[::1]:5000/a", True),
        ("docker.io", "docker.io/library/busybox", True),
        ("https://index.docker.io/v1/", "docker.io/library/busybox", True),
        ("https://index.docker.io/v1/", "example.com/busybox", False),
        ("https://[broken", "example.com/a", False),
    ],
)
def test_a_place_matches_images(place, repository, matches):
    assert users(repository, place) == ([place] if matches else [])


def test_the_most_specific_place_is_first():
    places = ("example.com", "example.com/team", "*.com")
    wanted = ["example.com/team", "example.com", "*.com"]
    assert users("example.com/team/a", *places) == wanted


def test_secrets_of_both_forms():
    text = base64.b64encode(b"ann:a:b").decode()
    entry = {"example.com": {"auth": text, "username": "ignored"}}
    for kind, key, value in (
        (JSON_TYPE, JSON_KEY, {"auths": entry}),
        (OLD_TYPE, OLD_KEY, entry),
    ):
        keyring = Keyring()
        keyring.add_secret(PullSecret(REF, kind, {key: json.dumps(value).encode()}))
        (login,) = keyring.lookup("example.com/a")
        assert (login.credentials.user, login.credentials.password) == ("ann", "a:b")
        assert login.secret == REF


@pytest.mark.parametrize("kind", ["Opaque", OLD_TYPE])
def test_a_secret_of_another_type_has_no_credentials(kind):
    keyring = Keyring()
    keyring.add_secret(PullSecret(REF, kind, {JSON_KEY: auths("example.com")}))
    assert keyring.lookup("example.com/a") == ()


@pytest.mark.parametrize(
    "data",
    [
        b"secret-word",
        b'{"auths": ["secret-word"]}',
        b'{"auths": {"a": {"auth": "c2VjcmV0LXdvcmQ="}}}',
        b'{"auths": {"a": {"auth": "secret-word"}}}',
        b"\xff",
    ],
)
def test_what_is_not_valid_is_named_and_not_shown(data):
    with pytest.raises(KeyringError, match="Secret default/pull, key ") as err:
        Keyring().add_secret(PullSecret(REF, JSON_TYPE, {JSON_KEY: data}))
    assert "secret-word" not in str(err.value)


def test_the_pods_credentials_come_before_the_nodes():
    own, node = Keyring(), Keyring()
    own.add(auths("a.io"), "own", REF, old=False)
    node.add(auths("a.io/x"), "node", old=False)
    found = lookup("a.io/x", (own, node))
    assert [login.credentials.user for login in found] == ["a.io", "a.io/x"]
    assert [login.secret for login in found] == [REF, None]


def test_a_password_is_in_no_text():
    keyring = Keyring()
    keyring.add(b'{"auths": {"a.io": {"username": "u", "password": "hidden"}}}', "x", old=False)
    assert "hidden" not in repr(keyring.lookup("a.io/x"))
