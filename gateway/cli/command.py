"""What every command shares: its flags, its exit codes, and one sentence instead of a traceback.

Exit code 0: done. 1: refused or failed, one line on standard error. 2: the command line makes no sense.
"""

import contextlib
import functools
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

if TYPE_CHECKING:
    from gateway.settings import Settings

Function = TypeVar("Function", bound=Callable[..., Any])

DEFAULT_DATA = Path(".data")

as_json = click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")
data_option = click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), default=DEFAULT_DATA, show_default=True,
    help="The folder of `tallylight up`.",
)  # fmt: skip

_SETTINGS = {
    "dsn": "PostgreSQL: postgresql://user:password@host:5432/database.",
    "host": "Address the API listens on.",
    "port": "Port the API listens on.",
    "workers": "API processes.",
    "public_url": "How clients reach the API.",
    "media_url": "Where videos are stored: file:///folder or s3://bucket/prefix.",
    "catalogue_dir": "Folder of models.toml and prices.toml; without it, the packaged ones.",
    "log_level": "debug, info, warning or error.",
    "metrics_dir": "Folder in which processes share their metrics.",
    "metrics_port": "Where dispatch and clerk show their metrics.",
}
_config = click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), help="Settings in TOML; the environment and flags win."
)


def settings_flags(*names: str) -> Callable[[Function], Function]:
    """Gives the command `--config` and a flag for each of these settings (default: all common ones), and hands it `settings`."""

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def with_settings(*args: Any, config: Path | None, **given: Any) -> Any:
            flags = {name: given.pop(name) for name in names or _SETTINGS}
            return function(*args, settings=load_settings(flags, config), **given)

        decorated: Any = _config(with_settings)
        for name in reversed(names or tuple(_SETTINGS)):
            decorated = click.option(f"--{name.replace('_', '-')}", name, help=_SETTINGS[name])(decorated)
        return decorated

    return decorate


def load_settings(flags: Mapping[str, object], config: Path | None) -> "Settings":
    import os

    from gateway.settings import Settings

    with reported():
        return Settings.load(flags, os.environ, config)


@contextlib.contextmanager
def reported() -> Generator[None]:
    """What may go wrong inside becomes one line on standard error and exit code 1; a bug keeps its traceback."""
    try:
        yield
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        raise click.ClickException(sentence) from error


def sentence_of(error: Exception) -> str | None:
    """What to tell a person about an expected failure; None for a bug."""
    import asyncpg

    from billing.errors import BillingError
    from billing.kit.migrate import MigrationError
    from gateway.cli.client import ApiError
    from gateway.errors import GatewayError
    from gateway.fleet.catalogue import CatalogueError
    from gateway.local.errors import LocalUnavailable
    from gateway.local.supervise import GaveUp
    from gateway.settings import SettingsError
    from gateway.simulator.setup import SetupError

    match error:
        case GatewayError():
            return error.message
        case BillingError() | MigrationError() | CatalogueError() | LocalUnavailable() | GaveUp() | SettingsError() | ApiError():
            return str(error)
        case SetupError():
            return str(error)
        case asyncpg.InvalidCatalogNameError() | asyncpg.InvalidAuthorizationSpecificationError():
            return f"the database refuses the connection: {error}"
        case asyncpg.UndefinedTableError() | asyncpg.InvalidSchemaNameError():
            return "the database has no tables of Tallylight yet; run `tallylight migrate`"
        case asyncpg.PostgresError() | asyncpg.InterfaceError():
            return f"the database refuses: {error}"
        case TimeoutError():
            return "the database did not answer in time"
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            return f"{where}{error.strerror or error}"
        case _:
            return None


def amount_of(text: str) -> int:
    """The micro-units of a flag `--amount`, which must be more than zero."""
    from billing.kit.money import parse_micro

    try:
        amount_micro = parse_micro(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--amount") from error
    if amount_micro <= 0:
        raise click.BadParameter("must be more than zero", param_hint="--amount")
    return amount_micro


def write_json(value: object) -> None:
    """One document on one line."""
    click.echo(msgspec.json.encode(value))


def write_table(rows: list[tuple[str, ...]]) -> None:
    """Columns as wide as their widest cell; the first row is the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
