"""Patches, tags of keys and restrictions: what holds for all of them."""

import re
from contextlib import nullcontext
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.model import KeySettings, new_token, well_formed
from gateway.access.restrictions import Restrictions, refuse_address, refuse_request
from gateway.access.scopes import ROLES, SCOPES, roles_with
from gateway.cli.desired import patch_of
from gateway.edge.merge import merged
from gateway.errors import KeyRestricted
from gateway.video import VideoRequest

labels = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3)
restrictions = st.builds(
    Restrictions,
    models=st.none() | st.lists(st.sampled_from(("testcard", "wan")), min_size=1, unique=True).map(tuple),
    tier_max=st.none() | st.sampled_from(("flex", "standard", "priority")),
    resolution_max=st.none() | st.sampled_from(("480p", "720p", "1080p")),
    seconds_max=st.none() | st.integers(1, 10),
)
settings = st.builds(
    KeySettings,
    name=st.sampled_from("kl"),
    lenient=st.booleans(),
    labels=labels,
    end_user=st.none() | st.just("u"),
    restrictions=restrictions,
)


class Patch(msgspec.Struct):
    """A change of a key as a client may send it: any of its fields, null among them."""

    name: Any = msgspec.UNSET
    lenient: Any = msgspec.UNSET
    labels: Any = msgspec.UNSET
    end_user: Any = msgspec.UNSET
    restrictions: Any = msgspec.UNSET


@given(settings, settings)
def test_the_patch_between_two_settings_makes_one_of_the_other(before: KeySettings, after: KeySettings) -> None:
    patch = patch_of(msgspec.to_builtins(before), msgspec.to_builtins(after))
    assert merged(before, Patch(**patch)) == after
    assert (patch == {}) == (before == after)


@given(st.sampled_from(("inference", "management")), st.booleans(), st.integers(0, 200), st.characters())
def test_a_token_with_another_character_is_no_key(kind: Any, livemode: bool, at: int, other: str) -> None:
    token = new_token(kind, livemode=livemode)
    assert well_formed(token, kind) and not well_formed(token, "inference" if kind == "management" else "management")
    at %= len(token)
    if token[at] != other:
        assert not well_formed(token[:at] + other + token[at + 1 :], kind)


def asked(tier: Any, resolution: str, seconds: int, model: str) -> VideoRequest:
    return VideoRequest(
        model=model, prompt="x", width=64, height=64, fps=8, frames=seconds * 8, resolution=resolution, ratio="1:1", steps=1,
        guidance=1.0, tier=tier, queue_deadline_s=60,
    )  # fmt: skip


@given(
    restrictions,
    st.sampled_from(("flex", "standard", "priority")),
    st.sampled_from(("480p", "720p", "1080p")),
    st.integers(1, 12),
    st.sampled_from(("testcard", "wan", "other")),
)
def test_a_request_passes_exactly_if_it_keeps_every_rule(
    rules: Restrictions, tier: str, resolution: str, seconds: int, model: str
) -> None:
    tiers, resolutions = ("flex", "standard", "priority"), ("480p", "720p", "1080p")
    keeps = (
        (rules.models is None or model in rules.models)
        and (rules.tier_max is None or tiers.index(tier) <= tiers.index(rules.tier_max))
        and (rules.resolution_max is None or resolutions.index(resolution) <= resolutions.index(rules.resolution_max))
        and (rules.seconds_max is None or seconds <= rules.seconds_max)
    )
    with nullcontext() if keeps else pytest.raises(KeyRestricted, match=r"does not allow .*; it accepts"):
        refuse_request(rules, asked(tier, resolution, seconds, model))


@pytest.mark.parametrize(
    "address, taken",
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.0.0.1", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("::10.1.2.3", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("", False),
        ("10.1.2.3.4", False),
        ("010.1.2.3", False),
        ("fe80::1%eth0", False),
    ],
)
def test_addresses(address: str, taken: bool) -> None:
    rules = Restrictions(addresses=("10.0.0.0/8", "2001:db8::/32", "192.0.2.7"))
    if taken:
        refuse_address(rules, address)
    else:
        with pytest.raises(KeyRestricted, match=re.escape("10.0.0.0/8, 2001:db8::/32, 192.0.2.7")):
            refuse_address(rules, address)


def test_roles_hold_scopes_that_there_are_and_every_scope_has_an_owner() -> None:
    assert all(scopes <= set(SCOPES) for scopes in ROLES.values())
    assert all(roles_with(scope)[0] == "owner" for scope in SCOPES)
    assert ROLES["viewer"] < ROLES["developer"] < ROLES["admin"] < ROLES["owner"]
    assert not any(scope.endswith(":write") for scope in ROLES["viewer"])
