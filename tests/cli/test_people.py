"""People from the command line: the first invitation, and help for who is locked out."""

import json

from tests.cli.test_access import ask
from tests.cli.test_commands import run


def test_the_operator_lets_in_and_helps_out(dsn: str) -> None:
    org = ("--org", "acme")
    run("orgs", "create", "acme", dsn=dsn)
    made = ask(dsn, "people", "invite", *org, "Ann@example.com", "--role", "owner")
    assert made["token"].startswith("tl_invite_") and (made["email"], made["state"]) == ("ann@example.com", "open")
    again = run("people", "invite", *org, "ann@example.com", "--role", "owner", dsn=dsn)
    assert again.returncode == 0 and again.stdout.startswith("tl_invite_") and made["token"] not in again.stdout
    for argv in (("people", "end-sessions", "ann@example.com"), ("people", "reset", "ann@example.com", "--factor")):
        nobody = run(*argv, dsn=dsn)
        assert nobody.returncode == 1 and "invite" in nobody.stderr
    assert run("people", "reset", "ann@example.com", dsn=dsn).returncode == 2
    wrong = run("people", "invite", *org, "nonsense", "--role", "owner", dsn=dsn)
    assert wrong.returncode == 1
    (opened, *invited) = ask(dsn, "audit", "list", *org)
    assert opened["action"] == "organization.create" and [one["action"] for one in invited] == ["invitation.create"] * 2
    assert made["token"] not in json.dumps(invited)
