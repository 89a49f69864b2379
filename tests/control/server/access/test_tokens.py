"""Tokens of ServiceAccounts: issued, shown, ended with their objects, mounted into Pods."""

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from control.api import kinds
from control.api.cluster import ConfigMap, Namespace
from control.controllers.rootca import NAME, RootCAController
from control.controllers.state import ClusterState
from control.pki import create_key
from control.tokens import TokenSigner, load_private_key
from tests.support.control.guarded import Guarded, guarded_server
from tests.support.control.kubectls import Kubectl
from tests.support.control.requests import CORE, Reply, pod
from tests.support.control.secured import secured_server

ACCOUNTS = f"{CORE}/serviceaccounts"
SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


@pytest.fixture
async def server() -> AsyncIterator[Guarded]:
    signer = TokenSigner(ec.generate_private_key(ec.SECP256R1()))
    async with guarded_server("RBAC", tokens=signer) as made:
        await made.make(ACCOUNTS, {"metadata": {"name": "robot"}})
        yield made


async def token_of(server: Guarded, **spec: Any) -> str:
    made = await server.make(f"{ACCOUNTS}/robot/token", {"spec": spec})
    return str(made["status"]["token"])


async def whoami(server: Guarded, token: str) -> Reply:
    return await server(token, "POST", SELF, {})


def claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))


def bound(made: dict[str, Any], kind: str = "Pod") -> dict[str, str]:
    meta = made["metadata"]
    return {"kind": kind, "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"]}


async def test_a_token_shows_its_account(server: Guarded) -> None:
    made = await server.make(f"{ACCOUNTS}/robot/token", {"spec": {"expirationSeconds": 900}})
    told = claims(made["status"]["token"])
    assert told["exp"] - told["iat"] == 900
    assert told["aud"] == made["spec"]["audiences"] == [told["iss"]]
    info = (await whoami(server, made["status"]["token"]))["status"]["userInfo"]
    uid = (await server("root", "GET", f"{ACCOUNTS}/robot"))["metadata"]["uid"]
    assert info == {
        "username": "system:serviceaccount:default:robot",
        "uid": uid,
        "groups": [
            "system:serviceaccounts",
            "system:serviceaccounts:default",
            "system:authenticated",
        ],
        "extra": {"authentication.kubernetes.io/credential-id": [f"JTI={told['jti']}"]},
    }


async def test_a_token_request_is_about_the_account_of_its_path(server: Guarded) -> None:
    body = {"metadata": {"name": "other"}, "spec": {}}
    refused = await server("root", "POST", f"{ACCOUNTS}/robot/token", body)
    assert (refused.code, refused["message"]) == (
        422,
        'TokenRequest.authentication.k8s.io "robot" is invalid: metadata.name: Invalid value:'
        ' "other": must match the service account name if specified',
    )


async def test_a_token_ends_with_its_account(server: Guarded) -> None:
    token = await token_of(server)
    assert (await whoami(server, token)).code == 201
    await server("root", "DELETE", f"{ACCOUNTS}/robot")
    assert (await whoami(server, token)).code == 401
    await server.make(ACCOUNTS, {"metadata": {"name": "robot"}})
    assert (await whoami(server, token)).code == 401  # another account of the same name


async def test_a_token_ends_with_its_pod(server: Guarded) -> None:
    await server.make("/api/v1/nodes", {"metadata": {"name": "n"}})
    made = await server.make(f"{CORE}/pods", pod(serviceAccountName="robot", nodeName="n"))
    token = await token_of(server, boundObjectRef=bound(made))
    extra = (await whoami(server, token))["status"]["userInfo"]["extra"]
    prefix = "authentication.kubernetes.io/"
    assert extra[f"{prefix}pod-name"] == ["p"]
    assert extra[f"{prefix}pod-uid"] == [made["metadata"]["uid"]]
    assert extra[f"{prefix}node-name"] == ["n"]
    await server("root", "DELETE", f"{CORE}/pods/p?gracePeriodSeconds=0")
    assert (await whoami(server, token)).code == 401


async def test_a_token_is_refused_that_is_over_forged_or_for_others(server: Guarded) -> None:
    token = await token_of(server)
    stolen = await token_of(server, audiences=["vault"])
    assert (await whoami(server, stolen)).code == 401
    head, _, signature = token.split(".")
    told = claims(token) | {"sub": "system:serviceaccount:kube-system:admin"}
    forged = base64.urlsafe_b64encode(json.dumps(told).encode()).rstrip(b"=").decode()
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    for bad in (f"{head}.{forged}.{signature}", f"{none}.{forged}.", f"{head}.{forged}", "a.b.c"):
        assert (await whoami(server, bad)).code == 401, bad
    signer = server.state.tokens
    assert signer is not None
    now = datetime.now(UTC)
    assert signer.verify(token, now) is not None
    assert signer.verify(token, now + timedelta(hours=2)) is None
    assert signer.verify(token, now - timedelta(hours=2)) is None


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        ({"expirationSeconds": 60}, 422, "may not specify a duration less than 10 minutes"),
        ({"expirationSeconds": 1 << 33}, 422, "may not specify a duration larger than 2^32"),
        (
            {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "gone"}},
            404,
            'pods "gone" not found',
        ),
        (
            {"boundObjectRef": {"kind": "Service", "apiVersion": "v1"}},
            400,
            "cannot bind token to object of type /v1, Kind=Service",
        ),
    ],
)
async def test_a_token_request_is_refused(
    server: Guarded, spec: dict[str, Any], code: int, message: str
) -> None:
    reply = await server("root", "POST", f"{ACCOUNTS}/robot/token", {"spec": spec})
    assert reply.code == code
    assert message in reply["message"]


async def test_a_token_is_not_bound_to_a_pod_of_another_account_or_uid(server: Guarded) -> None:
    made = await server.make(f"{CORE}/pods", pod())
    reference = bound(made)
    path = f"{ACCOUNTS}/robot/token"
    other = await server("root", "POST", path, {"spec": {"boundObjectRef": reference}})
    assert (other.code, "different serviceaccount name" in other["message"]) == (400, True)
    older = {"spec": {"boundObjectRef": reference | {"uid": "older"}}}
    assert (await server("root", "POST", path, older)).code == 409


async def test_a_review_answers_for_audiences(server: Guarded) -> None:
    token = await token_of(server, audiences=["vault", "db"])

    async def review(token: str, *audiences: str) -> dict[str, Any]:
        spec = {"token": token, "audiences": list(audiences)}
        return dict((await server.make(REVIEWS, {"spec": spec}))["status"])

    found = await review(token, "vault", "other")
    assert (found["authenticated"], found["audiences"]) == (True, ["vault"])
    assert found["user"]["username"] == "system:serviceaccount:default:robot"
    other = await review(token, "other", "x")
    assert (other.get("authenticated"), other["error"]) == (
        None,
        '[invalid bearer token, token audiences ["vault" "db"] is invalid for the target'
        ' audiences ["other" "x"]]',
    )
    assert (await review("a.b.c", "other"))["error"] == "invalid bearer token"
    assert not (await review(token)).get("authenticated")


async def test_others_verify_tokens_by_discovery(server: Guarded) -> None:
    token = await token_of(server)
    document = await server(token, "GET", "/.well-known/openid-configuration")
    assert document["issuer"] == claims(token)["iss"]
    keys = (await server(token, "GET", "/openid/v1/jwks"))["keys"]
    (key,) = keys
    x, y = (
        int.from_bytes(base64.urlsafe_b64decode(key[name] + "=="), "big") for name in ("x", "y")
    )
    numbers = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1())
    other = TokenSigner(ec.generate_private_key(ec.SECP256R1()), [numbers.public_key()])
    assert other.verify(token, datetime.now(UTC)) == claims(token)
    assert (await server("alice", "GET", "/openid/v1/jwks")).code == 403


@pytest.mark.parametrize("sort", ["ec", "rsa"])
def test_keys_of_both_sorts_sign(sort: str) -> None:
    private = (
        ec.generate_private_key(ec.SECP256R1())
        if sort == "ec"
        else rsa.generate_private_key(65537, 2048)
    )
    signer = TokenSigner(private)
    now = datetime.now(UTC)
    told = {"iss": signer.issuer, "exp": now.timestamp() + 60}
    assert signer.verify(signer.sign(told), now) == told
    other = TokenSigner(ec.generate_private_key(ec.SECP256R1()))
    assert other.verify(signer.sign(told), now) is None


def test_a_key_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "sa.key"
    path.write_bytes(create_key())
    assert isinstance(load_private_key(path), ec.EllipticCurvePrivateKey)


async def test_kubectl_creates_and_shows_a_token(tmp_path: Path) -> None:
    signer = TokenSigner(ec.generate_private_key(ec.SECP256R1()))
    async with secured_server(tmp_path, modes=("RBAC",), tokens=signer) as secured:
        kubectl = Kubectl(secured, "kubectl")
        await kubectl("create", "serviceaccount", "robot")
        token = (await kubectl("create", "token", "robot", "--duration=20m")).strip()
        assert claims(token)["exp"] - claims(token)["iat"] == 1200
        config = yaml.safe_load(secured.kubeconfig.read_text())
        config["users"] = [{"name": "admin", "user": {"token": token}}]
        secured.kubeconfig.write_text(yaml.safe_dump(config))
        assert "system:serviceaccount:default:robot" in await kubectl("auth", "whoami")
        refused = await kubectl.try_("get", "pods")
        assert 'User "system:serviceaccount:default:robot" cannot list resource' in refused.err


# Admission


async def test_a_pod_gets_the_token_of_its_account(server: Guarded) -> None:
    own = {"name": "c", "image": "i", "volumeMounts": [{"name": "mine", "mountPath": MOUNT}]}
    inits = [{"name": "i", "image": "i"}]
    volumes = [{"name": "mine", "emptyDir": {}}]
    containers = [own, {"name": "d", "image": "i"}]
    spec = {"containers": containers, "initContainers": inits, "volumes": volumes}
    made = (await server.make(f"{CORE}/pods", pod(**spec)))["spec"]
    added = made["volumes"][1]
    assert added["name"].startswith("kube-api-access-")
    token, authority, namespace = added["projected"]["sources"]
    assert token == {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}
    assert authority["configMap"]["name"] == "kube-root-ca.crt"
    assert namespace["downwardAPI"]["items"][0]["path"] == "namespace"
    mount = {"name": added["name"], "readOnly": True, "mountPath": MOUNT}
    assert made["containers"][0]["volumeMounts"] == own["volumeMounts"]
    assert made["containers"][1]["volumeMounts"] == [mount]
    assert made["initContainers"][0]["volumeMounts"] == [mount]


@pytest.mark.parametrize(
    ("account", "given", "mounted"),
    [(None, None, True), (False, None, False), (False, True, True), (True, False, False)],
)
async def test_a_pod_or_its_account_may_want_no_token(
    server: Guarded, account: bool | None, given: bool | None, mounted: bool
) -> None:
    named = {"metadata": {"name": "a"}, "imagePullSecrets": [{"name": "registry"}]}
    wants = {} if account is None else {"automountServiceAccountToken": account}
    await server.make(ACCOUNTS, named | wants)
    spec = {"serviceAccountName": "a"}
    spec |= {} if given is None else {"automountServiceAccountToken": given}
    made = (await server.make(f"{CORE}/pods", pod(**spec)))["spec"]
    assert bool(made.get("volumes")) is mounted
    assert made["imagePullSecrets"] == [{"name": "registry"}]


def test_each_namespace_gets_the_authority() -> None:
    controller = RootCAController("PEM")
    cluster = ClusterState((kinds.NAMESPACE, kinds.CONFIG_MAP))
    key = ("", "a")
    assert list(controller.reconcile(cluster, key, 0)) == []
    cluster[kinds.NAMESPACE].apply(None, Namespace.parse({"metadata": {"name": "a"}}))
    (action,) = controller.reconcile(cluster, key, 0)
    made = action.object
    assert isinstance(made, ConfigMap)
    assert (made.metadata.name, made.metadata.namespace, made.data) == (
        NAME,
        "a",
        {"ca.crt": "PEM"},
    )
    cluster[kinds.CONFIG_MAP].apply(None, made)
    assert list(controller.reconcile(cluster, key, 0)) == []
    changed = made.model_copy(update={"data": {"ca.crt": "other"}})
    cluster[kinds.CONFIG_MAP].apply(made, changed)
    (action,) = controller.reconcile(cluster, key, 0)
    assert action.object.data == {"ca.crt": "PEM"}
