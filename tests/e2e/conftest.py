"""The lab that whole-cluster tests share."""

import os
from collections.abc import Iterator

import pytest

from tests.support.e2e.harness import Lab, made_lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A three-node lab as ``lab up`` makes it."""
    with made_lab(f"t{os.getpid()}", tmp_path_factory.mktemp("kube")) as made:
        yield made
