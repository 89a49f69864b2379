"""The process of a worker: reads jobs from standard input, writes results to standard output.

It ends when its input ends, which happens when the server has gone.
"""

import gc
import logging
import os
import resource
import signal
import sys
from typing import BinaryIO

from control.api.custom.cost import TooCostlyError
from control.server.state.workers.frames import LENGTH, packed, unpacked
from control.server.state.workers.pool import Job, WorkerFailedError
from control.server.state.workers.snapshot import MissingItemError, MissingListError
from control.server.wire.errors import StatusError, too_large

logger = logging.getLogger(__name__)

# Of data, in bytes: what the largest allowed object needs, several times.
MEMORY = 1024 * 1024 * 1024


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Do one job after another until the source ends."""
    while head := source.read(LENGTH.size):
        job = unpacked(source.read(LENGTH.unpack(head)[0]))
        sink.write(packed(_result(job)))
        sink.flush()


def _result(job: Job) -> tuple[bool, object]:
    """Return (True, the result) or (False, the error)."""
    try:
        return True, job.function(job.snapshot.state(), job.request, *job.arguments)
    except (StatusError, MissingItemError, MissingListError) as err:
        return False, err
    except TooCostlyError as err:
        return False, too_large(str(err))
    except MemoryError:
        return False, too_large(f"it needs more than {MEMORY >> 20} MiB of memory")
    except Exception as err:
        logger.exception("a worker failed")
        return False, WorkerFailedError(f"{type(err).__name__} in a worker, see its traceback")


def main() -> None:
    """Serve the process that has started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends its pipe
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    gc.disable()  # values without cycles need none, and each pass would visit them all
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        serve(sys.stdin.buffer, sink)
    except BrokenPipeError:
        os._exit(0)  # the server has gone


if __name__ == "__main__":
    main()
