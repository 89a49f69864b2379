"""What is to be said besides the answer.

Nearly always nothing is, and a call without a server would spend 4 of its 60 ms on importing
``logging``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from logging import Logger


def warn(text: str, *values: object) -> None:
    """Say what an administrator may want to look at."""
    _logger().warning(text, *values)


def report_bug(err: Exception) -> None:
    """Say what should not have happened, and where."""
    _logger().error("podwire-cni has a bug", exc_info=err)


def _logger() -> Logger:
    import logging

    # for a process without a log of its own, as a server has
    logging.basicConfig(format="podwire-cni: %(levelname)s: %(message)s")
    return logging.getLogger(__package__)
