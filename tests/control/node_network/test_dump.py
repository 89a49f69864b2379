"""A dump that the kernel marks as interrupted is read again: pyroute2 0.9 does not raise."""

import pytest
from pyroute2.netlink import NLM_F_DUMP_INTR, NLM_F_MULTI

from control.node_network.kernel import dump


def message(name: str, *, interrupted: bool) -> dict:
    flags = NLM_F_MULTI | (NLM_F_DUMP_INTR if interrupted else 0)
    return {"name": name, "header": {"flags": flags}}


def test_an_interrupted_dump_is_read_again():
    answers = iter(
        [
            [message("a", interrupted=False), message("old", interrupted=True)],
            [message("a", interrupted=True)],
            [message("a", interrupted=False), message("new", interrupted=False)],
        ]
    )
    assert [item["name"] for item in dump(lambda: next(answers))] == ["a", "new"]


def test_dumps_that_never_agree_are_an_error():
    with pytest.raises(OSError, match="changed in each"):
        dump(lambda: [message("a", interrupted=True)])
