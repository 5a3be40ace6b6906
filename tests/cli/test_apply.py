"""An organization's access as a file: planned, made, and then left alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.conftest import desk
from tests.api.test_managers import manage
from tests.cli.test_commands import run
from tests.stack import Customer, Stack

__all__ = ["desk"]

FILE = """
projects:
  film:
    keys:
      farm:
        labels: {team: film}
        restrictions: {models: [testcard], seconds_max: 5}
        expires_at: 2100-01-01T08:00:00+08:00
      play: {livemode: false}
  art:
management_keys:
  ci: {role: viewer, restrictions: {addresses: [10.0.0.0/8]}}
members:
  Ann@example.com: owner
  ben@example.com: viewer
quotas:
  film: {scope: project, subject: film, meter: generated_ms, per: day, limit: 600000}
  farm: {scope: key, subject: film/farm, meter: concurrent_jobs, limit: 4}
  all: {scope: organization, meter: requests, per: minute, limit: 100, soft: true}
"""


class Site:
    """An organization, its manager and a file."""

    def __init__(self, desk: Stack, folder: Path) -> None:
        self.customer: Customer = desk.customer()
        self.manager: httpx.Client = manage(desk, self.customer, role="owner")
        self._url, self._file = desk.base_url, folder / "access.yaml"

    def apply(self, text: str, *flags: str) -> Any:
        done = self.run(text, *flags, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def run(self, text: str, *flags: str, by: httpx.Client | None = None) -> Any:
        self._file.write_text(text)
        key = (by or self.manager).headers["authorization"].removeprefix("Bearer ")
        return run("apply", str(self._file), "--url", self._url, "--key", key, *flags)

    def get(self, path: str) -> list[dict[str, Any]]:
        return self.manager.get(path, params={"limit": 100}).raise_for_status().json()["data"]


@pytest.fixture
def site(desk: Stack, tmp_path: Path) -> Iterator[Site]:
    one = Site(desk, tmp_path)
    with one.manager:
        yield one


def test_a_plan_changes_nothing_applying_does_and_applying_again_does_not(site: Site) -> None:
    planned = site.apply(FILE, "--plan")
    assert [f"{one['verb']} {one['kind']} {one['name']}" for one in planned["changes"]] == [
        "create project film",
        "create project art",
        "create key film/farm",
        "create key film/play",
        "create key ci",
        "create member Ann@example.com",
        "create member ben@example.com",
        "create quota film",
        "create quota farm",
        "create quota all",
    ]
    assert [project["name"] for project in site.get("/v1/projects")] == ["default"]
    made = site.apply(FILE)
    assert made["changes"] == planned["changes"] and made["secrets"]["film/play"].startswith("tl_test_")
    assert made["secrets"]["ci"].startswith("tl_mgmt_")
    assert site.apply(FILE) == {"changes": [], "applied": True, "secrets": {}}
    farm = next(key for key in site.get("/v1/keys") if key["name"] == "farm")
    assert next(quota for quota in site.get("/v1/quotas") if quota["name"] == "farm")["subject"] == farm["id"]
    assert (farm["labels"], farm["restrictions"]["seconds_max"]) == ({"team": "film"}, 5)
    assert farm["expires_at"] == "2100-01-01T00:00:00Z"
    assert {member["email"]: member["role"] for member in site.get("/v1/members")} == {
        "ann@example.com": "owner",
        "ben@example.com": "viewer",
    }


def test_differences_are_shown_field_by_field_and_made(site: Site) -> None:
    site.apply(FILE)
    text = FILE.replace("{team: film}", "{shot: a}").replace("seconds_max: 5", "tier_max: flex").replace("viewer,", "developer,")
    text = text.replace("limit: 4", "limit: 5")
    shown = site.run(
        text.replace("Ann@example.com: owner", "ann@example.com: admin").replace(
            "ben@example.com: viewer", "ben@example.com: owner"
        )
    )
    assert shown.returncode == 0, shown.stderr
    for line in (
        "~ key film/farm",
        'labels.team: "film" → none',
        'labels.shot: none → "a"',
        "restrictions.seconds_max: 5 → none",
        'restrictions.tier_max: none → "flex"',
        "~ key ci",
        "~ member ben@example.com",
        "~ quota farm",
        "limit: 4 → 5",
        "0 to create, 5 to change, 0 to remove",
    ):
        assert line in shown.stdout
    farm = next(key for key in site.get("/v1/keys") if key["name"] == "farm")
    assert (farm["labels"], farm["restrictions"]) == ({"shot": "a"}, {"models": ["testcard"], "tier_max": "flex"})


def test_what_is_not_named_is_left_alone_unless_it_is_pruned(site: Site) -> None:
    site.apply(FILE)
    less = "projects: {film: {keys: {play: {livemode: false}}}}\nmembers: {ann@example.com: owner}"
    assert site.apply(less)["changes"] == []
    pruned = site.apply(less, "--prune")["changes"]
    assert {one["verb"] for one in pruned} == {"remove"}
    assert {f"{one['kind']} {one['name']}" for one in pruned} == {
        "key film/farm", "key ci", "key default/live", "key default/test", "key default/lenient", "member ben@example.com",
        "project art", "project default", "quota film", "quota farm", "quota all",
    }  # fmt: skip
    valid = {key["name"] for key in site.get("/v1/keys") if key["state"] == "valid"}
    assert valid == {"play", "terraform"}  # the key in use ends itself last: not at all
    assert site.apply(less, "--prune")["changes"] == []
    assert [one["kind"] for one in site.apply(FILE)["changes"]] == ["project", "key", "key", "member", "quota", "quota", "quota"]


@pytest.mark.parametrize(
    "text, said",
    [
        ("projects: [", "no YAML"),
        ("projects: {a: {}, a: {}}", "stands twice"),
        ("project: {}", "unknown field `project`"),
        ("projects: {film: {keys: {x: {restrictions: {addresses: [nowhere]}}}}}", "no address or network"),
        ("management_keys: {x: {}}", "say what the key may do"),
        ("members: {ann: owner}", "regex"),
        ("quotas: {a: {scope: galaxy, meter: requests, limit: 1}}", "scope"),
        ("quotas: {a: {scope: key, subject: film/x, meter: requests, per: day, limit: 1}}", "no key"),
        ("projects: {default: {keys: {live: {livemode: false}}}}", "choose another name"),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence_and_nothing_is_done(site: Site, text: str, said: str) -> None:
    done = site.run(text)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr
    assert [project["name"] for project in site.get("/v1/projects")] == ["default"]


def test_a_key_without_the_scope_is_told_so(site: Site, desk: Stack) -> None:
    with manage(desk, site.customer, "projects:read", "keys:read", "members:read", "quotas:read") as weak:
        done = site.run("projects: {film: }", by=weak)
    assert done.returncode == 1 and "projects:write" in done.stderr
