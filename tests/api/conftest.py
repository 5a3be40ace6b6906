"""An API process without a fleet: jobs stay queued."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import kept
from tests.stack import Stack, running_stack


@pytest.fixture(scope="session")
def desk(server_dsn: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("api")
    with kept(server_dsn, template) as dsn, running_stack(dsn, folder, replicas=0, roles=("api",)) as stack:
        yield stack
