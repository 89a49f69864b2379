"""Hostile input for the API server's parsers, made by atheris, guided by coverage.

    python -m tests.support.control.fuzz [options and folders of libFuzzer]

The first byte of an input selects the parser, the others are its input.
"""

import sys

import atheris

with atheris.instrument_imports(include=["control.server", "control.api"]):
    from tests.support.control.parsers import PARSERS, feed

NAMES = tuple(PARSERS)


def one(data: bytes) -> None:
    """Feed one input."""
    if data:
        feed(NAMES[data[0] % len(NAMES)], data[1:])


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
