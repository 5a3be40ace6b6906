"""One stack for the folder, with models that stay queued, run slowly or refuse, and a customer of each test's own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.fleet.catalogue import PACKAGED
from gateway.local.triton import BUNDLED_MODELS
from tests.conftest import kept
from tests.stack import Customer, Stack, running_stack

EXTRA = {
    "parked": {},  # no replica serves it: its jobs stay queued
    "slow": {"triton_model": "slow"},  # ten minutes a second: its jobs stay running
    "giant": {"edge_max": "8192", "pixels_max": "67_108_864"},  # more than the test card takes: its jobs fail
    "plain": {"auto_length": "false", "audio": "false", "roles": "[]"},
}
"""Models beside the test card, by what differs from it."""


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalogue")
    for file in PACKAGED.glob("*.toml"):
        shutil.copyfile(file, folder / file.name)
    models = (PACKAGED / "models.toml").read_text()
    card = models.split("[[models]]\n")[1]  # the test card's
    prices = (PACKAGED / "prices.toml").read_text()
    for name, changes in EXTRA.items():
        lines = dict(line.split(" = ", 1) for line in card.splitlines() if " = " in line and not line.startswith("#"))
        lines |= {"name": f'"{name}"', "like": '"testcard"'} | {key: _toml(value) for key, value in changes.items()}
        models += "\n[[models]]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())
    blocks = prices.split("[[cards]]")
    for number, block in enumerate(blocks[1:], 1):
        table = block[block.index("[cards.models.testcard]") :]
        blocks[number] = block + "".join("\n" + table.replace("testcard", name) for name in EXTRA)
    (folder / "models.toml").write_text(models)
    (folder / "prices.toml").write_text("[[cards]]".join(blocks))
    return folder


def _toml(value: str) -> str:
    return value if value in ("true", "false", "[]") or value[0].isdigit() else f'"{value}"'


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test card once more, as `slow`: 600 s of work for each second of video."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(BUNDLED_MODELS / "testcard", folder / "slow")
    config = folder / "slow" / "config.pbtxt"
    text = config.read_text().replace('name: "testcard"', 'name: "slow"')
    config.write_text(
        text.replace('key: "pace_s_per_s", value: { string_value: "0" }', 'key: "pace_s_per_s", value: { string_value: "600" }')
    )
    return folder


@pytest.fixture(scope="session")
def stack(
    server_dsn: str, template: str, catalogue: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    with (
        kept(server_dsn, template) as dsn,
        running_stack(
            dsn,
            tmp_path_factory.mktemp("stack"),
            models=("testcard", "slow", "giant", "plain"),
            repositories=(BUNDLED_MODELS, repository),
            slots=8,
            catalogue_dir=str(catalogue),
            egress_networks=("127.0.0.2/32",),
        ) as running,
    ):
        yield running


@pytest.fixture
def customer(stack: Stack) -> Customer:
    """An organization of this test's own, with a thousand yuan."""
    return stack.customer()
