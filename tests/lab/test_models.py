"""The models that a lab builds before its parts are forked."""

import subprocess
import sys

from lab.models import SHARED

# In a process of its own: other tests use the models, too.
COUNTS = """
from lab import models
print(sum(model.__pydantic_complete__ for model in models.SHARED))
models.build()
print(sum(model.__pydantic_complete__ for model in models.SHARED))
"""


def test_shared_models_are_built_before_their_first_use():
    command = [sys.executable, "-P", "-c", COUNTS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", str(len(SHARED))]
