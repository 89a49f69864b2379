"""The errors of libnftables, whose messages are the only source of their kind."""

import errno

import pytest

from cni_plugin.firewall.libnftables import NftablesError


@pytest.mark.parametrize(
    ("message", "number"),
    [
        ("Error: No such file or directory\nlist table inet x\n           ^\n", errno.ENOENT),
        ("Error: No such file or directory; did you mean set \u2018s\u2019?\nadd", errno.ENOENT),
        ("Error: Could not process rule: File exists\ncreate element\n", errno.EEXIST),
        ("internal:0:0-0: Error: Could not process rule: File exists\n", errno.EEXIST),
        ("Error: syntax error, unexpected newline\nadd x # File exists\n", 0),
        ("", 0),
    ],
)
def test_the_message_becomes_an_errno(message, number):
    err = NftablesError(message)
    assert (err.errno, err.absent, err.exists) == (
        number,
        number == errno.ENOENT,
        number == errno.EEXIST,
    )
