"""Distributes endpoints over slices so that few slices are written. Pure.

An endpoint stays in its slice. New ones fill slices that are written anyway, then the fullest slice
that has room for all of them, then new slices.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from control.api.service import EndpointSlice, SliceEndpoint

EndpointIdentity = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Packing:
    """The slices to keep, to change (with their new endpoints), to drop and to add."""

    keep: tuple[EndpointSlice, ...]
    change: tuple[tuple[EndpointSlice, tuple[SliceEndpoint, ...]], ...]
    drop: tuple[EndpointSlice, ...]
    add: tuple[tuple[SliceEndpoint, ...], ...]


def identity(endpoint: SliceEndpoint) -> EndpointIdentity:
    """Return an endpoint's identity: its Pod and its address."""
    target = endpoint.target_ref
    return (target.uid or "") if target else "", endpoint.addresses[0]


def pack(have: Sequence[EndpointSlice], want: Iterable[SliceEndpoint], most: int) -> Packing:
    """Distribute the wanted endpoints of one family and one set of ports."""
    missing = {identity(endpoint): endpoint for endpoint in want}
    layout = [(slice_, _remaining(slice_, missing)) for slice_ in have]
    rest = list(missing.values())
    for slice_, endpoints in layout:
        if endpoints != slice_.endpoints:
            rest = _fill(endpoints, rest, most)
    rest = _fill_one_more(layout, rest, most)
    new = tuple(tuple(rest[i : i + most]) for i in range(0, len(rest), most))
    changed = [(s, e) for s, e in layout if e and e != s.endpoints]
    return Packing(
        keep=tuple(s for s, e in layout if e and e == s.endpoints),
        change=tuple((s, tuple(e)) for s, e in changed),
        drop=tuple(s for s, e in layout if not e),
        add=new,
    )


def _remaining(
    slice_: EndpointSlice, missing: dict[EndpointIdentity, SliceEndpoint]
) -> list[SliceEndpoint]:
    """Return a slice's endpoints that are still wanted; remove them from ``missing``."""
    found = (missing.pop(identity(e), None) for e in slice_.endpoints if e.addresses)
    return [endpoint for endpoint in found if endpoint is not None]


def _fill(
    endpoints: list[SliceEndpoint], rest: list[SliceEndpoint], most: int
) -> list[SliceEndpoint]:
    room = max(0, most - len(endpoints))
    endpoints += rest[:room]
    return rest[room:]


def _fill_one_more(
    layout: Sequence[tuple[EndpointSlice, list[SliceEndpoint]]],
    rest: list[SliceEndpoint],
    most: int,
) -> list[SliceEndpoint]:
    """Put the rest that does not fill a slice into the fullest unchanged slice with room for it."""
    tail = len(rest) % most
    fitting = [e for s, e in layout if e == s.endpoints and len(e) + tail <= most]
    if not tail or not fitting:
        return rest
    max(fitting, key=len).extend(rest[-tail:])
    return rest[:-tail]
