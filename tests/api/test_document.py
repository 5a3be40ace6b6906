"""The served OpenAPI document against the served API: thousands of requests made from it, valid and broken, alone and in chains."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.access.scopes import SCOPES
from gateway.settings import Secret
from tests.api.test_managers import manage
from tests.stack import Stack, running_stack

OPERATOR = "operator-" + "x" * 32
EXAMPLES = os.environ.get("TALLYLIGHT_TEST_DOCUMENT_EXAMPLES", "1")
SEED = os.environ.get("TALLYLIGHT_TEST_DOCUMENT_SEED", "1")
HOOKS = '''
import schemathesis

KEPT = {kept!r}

@schemathesis.hook
def before_call(ctx, case, kwargs):
    """A run that revokes its own key would only see 401 from then on."""
    given = case.path_parameters or {{}}
    if str(given.get("key_id", "")).replace("-", "").lower() in KEPT:
        given["key_id"] = {spare!r}
'''
CONFIG = """
reports.directory = "{folder}/reports"

[auth.openapi]
bearer = {{ bearer = "{live}" }}
management = {{ bearer = "{management}" }}
operator = {{ bearer = "{operator}" }}

[checks]
# What a schema cannot say, such as which sizes a model makes, is refused with the reason.
positive_data_acceptance.enabled = false
# Litestar answers OPTIONS for the handler of a path that was registered first.
allow_header_conformance.enabled = false
missing_required_header.expected-statuses = [400, 401, 403, 428]
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429]
"""


@pytest.fixture(scope="module")
def desk(module_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("document")
    roles, operator = ("api",), Secret(OPERATOR)
    with running_stack(module_dsn, folder, replicas=0, roles=roles, operator_token=operator) as stack:
        yield stack


def test_the_document_is_true(desk: Stack, tmp_path: Path) -> None:
    """No 5xx, no answer that is not documented, nothing accepted that breaks the schema, no operation open without a key."""
    customer = desk.customer()
    with manage(desk, customer, *SCOPES) as manager:
        management = manager.headers["authorization"].removeprefix("Bearer ")
        keys = manager.get("/v1/keys").json()["data"]
        spare = manager.post("/v1/keys", json={"name": "spare"}).json()["id"]
    kept = [key["id"].replace("-", "") for key in keys]
    (tmp_path / "hooks.py").write_text(HOOKS.format(kept=kept, spare=spare))
    config = CONFIG.format(folder=tmp_path, live=customer.live, management=management, operator=OPERATOR)
    (tmp_path / "schemathesis.toml").write_text(config)
    found = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(tmp_path / "schemathesis.toml")),
            *("run", f"{desk.base_url}/openapi.json", "--max-examples", EXAMPLES, "--seed", SEED),
        ],
        cwd=tmp_path,
        env=os.environ | {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout[-20_000:] + found.stderr[-2_000:]
    generated = re.search(r"(\d+) generated", found.stdout)
    assert generated is not None and int(generated[1]) > 500, found.stdout[-2_000:]
    print(found.stdout[-2_000:])
    for token in (customer.live, management):
        assert httpx.get(f"{desk.base_url}/v1/quotas", headers={"authorization": f"Bearer {token}"}).status_code == 200
