"""The oracle, one process for all tests of a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.conformance.elastalert.client import Oracle, oracle_python
from tests.conftest import missing_server


@pytest.fixture(scope="session")
def oracle() -> Iterator[Oracle]:
    python = oracle_python()
    if python is None:
        missing_server(
            "no environment with elastalert2: `make setup` makes .venv-oracle, or set DIVERTOR_ORACLE"
        )
    asked = Oracle(python)
    yield asked
    asked.close()
