"""Processes are named by numbers that others may have by now, or nobody."""

import os
import subprocess
import threading

import pytest

from control.linux.processes import open_process


def test_what_is_no_process_any_more_is_gone_whatever_the_kernel_says():
    """A number is nobody's, a thread's, or the 0 that stands for none."""
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
