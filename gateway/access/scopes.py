"""What whoever manages an organization may do: scopes, and the roles of members as sets of them; pure."""

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

Scope: TypeAlias = Literal[
    "organization:read",
    "organization:write",
    "projects:read",
    "projects:write",
    "keys:read",
    "keys:write",
    "members:read",
    "members:write",
    "quotas:read",
    "quotas:write",
    "webhooks:read",
    "webhooks:write",
    "usage:read",
    "billing:read",
    "billing:write",
    "audit:read",
]
Role: TypeAlias = Literal["owner", "admin", "developer", "billing", "viewer"]
Scopes: TypeAlias = frozenset[Scope]

SCOPES: tuple[Scope, ...] = get_args(Scope)
_EVERY: Scopes = frozenset(SCOPES)
_OWN: Scopes = frozenset(("organization:write", "billing:write"))
_SEE: Scopes = frozenset(
    ("organization:read", "projects:read", "keys:read", "members:read", "quotas:read", "webhooks:read", "usage:read")
)
_BUILD: Scopes = frozenset(("keys:write", "webhooks:write"))
_PAY: Scopes = frozenset(
    ("organization:read", "projects:read", "members:read", "quotas:read", "usage:read", "billing:read", "billing:write")
)

ROLES: Mapping[Role, Scopes] = {
    "owner": _EVERY,
    "admin": _EVERY - _OWN,
    "developer": _SEE | _BUILD,
    "billing": _PAY,
    "viewer": _SEE,
}
"""Nobody gives what they do not have: an admin makes no owner, a developer's management key manages no members."""


def roles_with(scope: Scope) -> tuple[Role, ...]:
    return tuple(role for role, scopes in ROLES.items() if scope in scopes)
