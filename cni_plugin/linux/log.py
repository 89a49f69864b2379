"""What is said besides the answer: by the server's logger, or on standard error where none is.

A call without a server says something once in a while, and has no use for ``logging``, which takes
Python 4 ms to import.
"""

import os
import sys


def warn(text: str, *values: object) -> None:
    """Say what an administrator may want to look at."""
    _say("WARNING", text % values)


def report_bug(err: Exception) -> None:
    """Say what should not have happened, and where."""
    import traceback  # it takes 5 ms, and this is said hardly ever

    _say("ERROR", f"podwire-cni has a bug\n{''.join(traceback.format_exception(err)).rstrip()}")


def _say(level: str, text: str) -> None:
    if logging := sys.modules.get("logging"):
        logging.getLogger(__package__).log(getattr(logging, level), "%s", text)
    else:
        os.write(2, f"podwire-cni: {level}: {text}\n".encode(errors="replace"))
