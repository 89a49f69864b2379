"""What the benchmark of hostile requests sends: enough of each, bounded, and repeatable."""

import pytest

from bench.hostile.__main__ import tracebacks
from bench.hostile.bodies import (
    APPLY,
    JSON,
    JSON_PATCH,
    MOST,
    PROTOBUF,
    YAML,
    filled,
    mutated,
    of_media,
)
from bench.hostile.routes import OBJECTS, named, routes


def test_items_fill_a_body_to_its_limit():
    body = filled(b"[", b'"%d"', b"]", 100)
    assert 90 <= len(body) <= 100
    assert body.startswith(b'["0","1",') and body.endswith(b'"]')


def test_a_seed_gives_the_same_bodies():
    bases = [named(wire) for wire in OBJECTS.values()]
    first, again, other = (list(mutated(seed, 50, bases)) for seed in (1, 1, 2))
    assert first == again != other
    assert len(set(first)) > 20 and max(map(len, first)) <= MOST


@pytest.mark.parametrize("media", [JSON, JSON_PATCH, PROTOBUF, YAML, APPLY])
def test_each_content_type_has_a_route_and_twenty_bodies(media: str):
    assert [route for route in routes() if route[2] == media]
    bodies = of_media(media)
    assert len(bodies) >= 20 and max(map(len, bodies.values())) <= MOST


def test_the_last_line_of_each_traceback_is_shown():
    one = "Traceback (most recent call last):\n  File x\n    y\nValueError: a\n2026 INFO b\n"
    assert tracebacks(f"2026 INFO a\n{one}{one}") == ["ValueError: a", "ValueError: a"]
