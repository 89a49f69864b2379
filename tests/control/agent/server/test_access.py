"""Who may use the agent's server: what the API server is asked, and how long its answers hold."""

import pytest
from aiohttp.test_utils import make_mocked_request

from control.agent.server.access import Access, Caller, of_certificate, subresources
from control.agent.server.errors import HttpError
from control.client import ClientError


class Reviews:
    """An API server that knows one token, and notes what it was asked."""

    def __init__(self):
        self.asked, self.allowed, self.down = [], {"pods"}, False

    async def identify(self, token):
        self.note("identify", token)
        return {"username": "ann", "groups": ["dev"]} if token == "good" else None

    async def allows(self, review):
        attributes = review["resourceAttributes"]
        self.note(review["user"], attributes["verb"], attributes["subresource"])
        return attributes["subresource"] in self.allowed

    def note(self, *what):
        self.asked.append(what)
        if self.down:
            raise ClientError("https://10.0.0.1:6443: nobody listens")


class Server:
    def __init__(self, reviews):
        self.now, self.access = 0.0, Access("n1", reviews, lambda: self.now)

    async def code(self, path="/pods", bearer="good"):
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        request = make_mocked_request("GET", path, headers)
        request.transport.get_extra_info.return_value = None
        try:
            await self.access.check(request)
        except HttpError as err:
            return err.code
        return 200


@pytest.fixture
def reviews():
    return Reviews()


@pytest.fixture
def server(reviews):
    return Server(reviews)


async def test_answers_hold_as_long_as_kubelets(server, reviews):
    assert [await server.code(), await server.code("/metrics")] == [200, 403]
    asked = [("identify", "good"), ("ann", "get", "pods"), ("ann", "get", "metrics")]
    assert reviews.asked == asked
    for now, new in (
        *((29.9, []), (30.0, asked[2:]), (59.9, []), (119.9, asked[2:])),
        *((120.0, asked[:1]), (299.9, asked[::2]), (300.0, asked[1:2])),
    ):
        server.now, reviews.asked = now, []
        assert [await server.code(), await server.code("/metrics")] == [200, 403]
        assert reviews.asked == new


async def test_a_token_that_is_none_is_remembered_too(server, reviews):
    assert [await server.code(bearer="bad") for _ in range(2)] == [401, 401]
    assert reviews.asked == [("identify", "bad")]
    assert await server.code(bearer="") == 401
    assert len(reviews.asked) == 1


async def test_nobody_enters_while_the_api_server_is_away_and_nothing_of_it_is_kept(
    server, reviews
):
    reviews.down = True
    assert await server.code() == 401
    reviews.down = False
    assert await server.code("/healthz") == 403
    reviews.down = True
    assert await server.code() == 500
    reviews.down = False
    assert await server.code() == 200
    server.now = 119
    reviews.down = True
    assert await server.code() == 200  # what it has said before holds


async def test_many_tokens_take_no_more_room(server, reviews):
    for number in range(1100):
        await server.code(bearer=f"t{number}")
    reviews.asked = []
    assert await server.code(bearer="t1099") == 401
    assert reviews.asked == []
    assert await server.code(bearer="t0") == 401
    assert reviews.asked == [("identify", "t0")]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/pods", ("pods", "proxy")),
        ("/metrics/cadvisor", ("metrics",)),
        ("/stats/summary", ("stats",)),
        ("/exec/default/web/main", ("proxy",)),
        ("/podsx", ("proxy",)),
        ("/", ("proxy",)),
    ],
)
def test_a_path_is_a_subresource_of_the_node(path, names):
    assert subresources(path) == names


def subject(*pairs):
    return {"subject": tuple((pair,) for pair in pairs)}


def test_a_certificate_says_name_and_groups():
    found = of_certificate(subject(("organizationName", "dev"), ("commonName", "ann")))
    assert found == Caller("ann", ("dev", "system:authenticated"))
    assert of_certificate(subject(("organizationName", "dev"))) is None
