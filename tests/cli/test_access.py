"""Organizations, projects, keys and members from the command line; what was done stands in the trail."""

import json
from typing import Any

import pytest

from tests.cli.test_commands import run


def ask(dsn: str, *argv: str) -> Any:
    done = run(*argv, "--json", dsn=dsn)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_organization_from_opening_it_to_its_last_key(dsn: str) -> None:
    run("orgs", "create", "acme", dsn=dsn)
    (renamed,) = ask(dsn, "orgs", "rename", "--org", "acme", "ACME Ltd")
    org = ("--org", renamed["name"])
    (film,) = ask(dsn, "projects", "create", *org, "film")
    made = ask(
        dsn, "keys", "create", *org, "--project", "film", "--name", "farm", "--label", "team=film", "--model", "testcard",
        "--seconds-max", "5", "--address", "10.0.0.0/8", "--expires", "2100-01-01",
    )  # fmt: skip
    assert made["key"].startswith("tl_live_") and made["labels"] == {"team": "film"} and made["project_id"] == film["id"]
    changed = ask(
        dsn,
        "keys",
        "change",
        *org,
        made["id"],
        "--end-user",
        "u",
        "--unset",
        "models",
        "--unset",
        "expires",
        "--tier-max",
        "flex",
    )
    assert changed["restrictions"] == {"tier_max": "flex", "seconds_max": 5, "addresses": ["10.0.0.0/8"]}
    assert (changed["end_user"], changed["expires_at"], changed["labels"]) == ("u", None, {"team": "film"})
    rotated = ask(dsn, "keys", "rotate", *org, made["id"], "--overlap-s", "60")
    assert rotated["key"] != made["key"] and rotated["previous_works_until"] is not None
    manager = ask(dsn, "keys", "create", *org, "--name", "terraform", "--role", "developer", "--scope", "members:write")
    assert manager["key"].startswith("tl_mgmt_") and {"keys:write", "members:write"} <= set(manager["scopes"])
    ask(dsn, "keys", "revoke", *org, made["id"])
    assert "revoked" in run("keys", "show", *org, made["id"], dsn=dsn).stdout
    (ann,) = ask(dsn, "members", "add", *org, "ann@example.com", "--role", "owner")
    ask(dsn, "members", "add", *org, "ben@example.com", "--role", "viewer")
    last = run("members", "remove", *org, ann["id"], dsn=dsn)
    assert last.returncode == 1 and "last owner" in last.stderr
    (archived,) = ask(dsn, "projects", "change", *org, film["id"], "--archive")
    assert archived["archived_at"] is not None and "archived" in run("projects", "list", *org, dsn=dsn).stdout
    actions = [entry["action"] for entry in ask(dsn, "audit", "list", *org)]
    assert actions == [
        "organization.create", "organization.change", "project.create", "key.create", "key.change", "key.rotate", "key.create", "key.revoke",
        "member.add", "member.add", "project.change",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "argv, said",
    [
        (("keys", "create", "--org", "acme", "--name", " x"), "regex"),
        (("keys", "create", "--org", "acme", "--name", "x", "--label", "team"), "team=film"),
        (("keys", "create", "--org", "acme", "--name", "x", "--address", "10.0.0.1/8"), "no address or network"),
        (("keys", "create", "--org", "acme", "--name", "x", "--expires", "2020-01-01"), "future"),
        (("keys", "create", "--org", "acme", "--name", "x", "--project", "film"), "no project"),
        (("members", "add", "--org", "acme", "nobody", "--role", "owner"), "regex"),
        (("projects", "create", "--org", "acme", "default"), "there is a project"),
    ],
)
def test_what_is_refused(dsn: str, argv: tuple[str, ...], said: str) -> None:
    run("orgs", "create", "acme", dsn=dsn)
    done = run(*argv, dsn=dsn)
    assert done.returncode in (1, 2) and said in done.stderr and "Traceback" not in done.stderr
