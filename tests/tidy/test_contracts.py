"""The layer contracts in pyproject.toml name every module that must stay pure."""

import re
import tomllib
from collections.abc import Iterable

from tests.tidy.checks import PACKAGES, ROOT, modules

PURE = (
    "billing.invoices.model",
    "billing.invoices.words",
    "billing.invoices.xml",
    "billing.ledger.allocate",
    "billing.kit.apportion",
    "billing.plans.calendar",
    "billing.plans.prorate",
    "billing.plans.tax",
    "billing.pricing.charge",
    "billing.pricing.check",
    "billing.pricing.explain",
    "billing.pricing.hours",
    "billing.pricing.quote",
    "gateway.dialects.*.translate",
    "gateway.dialects.*.wire",
    "gateway.fleet.chips",
    "gateway.fleet.contract",
    "gateway.fleet.policy.*",
    "gateway.video",
)


def matches(pattern: str, name: str) -> bool:
    """As import-linter reads it: a star is one component."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", r"[^.]+"), name) is not None


def uncovered(names: Iterable[str], sources: Iterable[str]) -> list[str]:
    """Modules that are to be pure and have no line in the contract."""
    pure = [name for name in names if any(matches(pattern, name) for pattern in PURE)]
    return [name for name in pure if not any(matches(source, name) for source in sources)]


def test_every_pure_module_is_in_the_contract() -> None:
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = [contract for contract in configured if contract["name"] == "arithmetic and translation are pure"]
    assert uncovered((module.name for module in modules(*PACKAGES)), contract["source_modules"]) == []
    assert uncovered([pattern.replace("*", "openai") for pattern in PURE], contract["source_modules"]) == []


def test_a_missing_line_is_found() -> None:
    names = ["gateway.video", "gateway.dialects.openai.wire", "gateway.dialects.openai.routes"]
    assert uncovered(names, ["*.video", "gateway.dialects.*.wire"]) == []
    assert uncovered(names, ["*.video"]) == ["gateway.dialects.openai.wire"]
    assert uncovered(names, ["*.quote", "gateway.*.wire"]) == ["gateway.video", "gateway.dialects.openai.wire"]
