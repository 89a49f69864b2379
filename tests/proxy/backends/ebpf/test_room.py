"""The room that tables get before there is a desired state."""

from msgspec.structs import replace

from proxy.backends.ebpf.room import USUAL_ROOM, MapRoom


def test_one_table_that_is_too_small_is_enough_to_load_again() -> None:
    assert MapRoom().fits_in(USUAL_ROOM)
    assert USUAL_ROOM.fits_in(USUAL_ROOM)
    for name in ("frontends", "endpoints", "seats", "members", "ranges"):
        more = replace(MapRoom(), **{name: getattr(USUAL_ROOM, name) + 1})
        assert not more.fits_in(USUAL_ROOM), name
