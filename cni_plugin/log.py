"""What is to be said besides the answer.

Nearly always nothing is, and importing ``logging`` takes a sixth of a call without a server.
"""

from __future__ import annotations


def warn(text: str, *values: object) -> None:
    """Say what an administrator may want to look at."""
    import logging

    logging.getLogger(__package__).warning(text, *values)


def report_bug(err: Exception) -> None:
    """Say what should not have happened, and where."""
    import logging

    logging.getLogger(__package__).error("podwire-cni has a bug", exc_info=err)
