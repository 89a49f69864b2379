"""Processes by their IDs, which other processes may have by now."""

import os
import subprocess
import threading

import pytest

from control.linux.processes import open_process


def test_every_error_for_an_absent_process_means_gone():
    """The ID of no process, a thread's ID, or 0."""
    with subprocess.Popen(["true"]) as ended:
        pass
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        for number in (ended.pid, thread.native_id, 0):
            with pytest.raises(ProcessLookupError):
                open_process(number)
    finally:
        stop.set()
        thread.join()


def test_a_process_is_opened():
    os.close(open_process(os.getpid()))
