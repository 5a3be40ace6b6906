import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.errors import LinkRefused
from gateway.media.signing import LinkSigner

OLD, NEW = b"o" * 32, b"n" * 32
SIGNER = LinkSigner({"k1": OLD, "k2": NEW}, "k2")
METHOD, PATH, ORG, EXPIRES = "GET", "/v1/files/orgs/o1/jobs/j1/1/video.mp4", "o1", 2_000_000_000
QUERY = SIGNER.sign(METHOD, PATH, ORG, EXPIRES)


def refused(method: str, path: str, org_id: str, query: str, now_s: float = 1_900_000_000, signer: LinkSigner = SIGNER) -> str:
    with pytest.raises(LinkRefused) as caught:
        signer.verify(method, path, org_id, query, now_s)
    return caught.value.code


def test_a_link_works_until_it_expires() -> None:
    SIGNER.verify(METHOD, PATH, ORG, QUERY, EXPIRES - 1)
    SIGNER.verify(METHOD, PATH, ORG, QUERY, EXPIRES - 0.001)
    assert refused(METHOD, PATH, ORG, QUERY, EXPIRES) == "link_expired"


def test_every_field_is_covered() -> None:
    assert refused("DELETE", PATH, ORG, QUERY) == "link_forged"
    assert refused(METHOD, PATH + "/", ORG, QUERY) == "link_forged"
    assert refused(METHOD, PATH, "o2", QUERY) == "link_forged"
    assert refused(METHOD, PATH, ORG, QUERY.replace(str(EXPIRES), str(EXPIRES + 1))) == "link_forged"
    assert refused(METHOD, PATH, ORG, QUERY.replace("key=k2", "key=k1")) == "link_forged"
    assert refused(METHOD, PATH, ORG, QUERY.replace("key=k2", "key=k3")) == "link_forged"
    # What moves from one field to its neighbour makes another link.
    assert refused(METHOD + "/v1", PATH.removeprefix("/v1"), ORG, QUERY) == "link_forged"


@given(index=st.integers(0, len(QUERY) - 1), replacement=st.characters(max_codepoint=0x2FF))
def test_no_character_of_the_query_may_change(index: int, replacement: str) -> None:
    mutated = QUERY[:index] + replacement + QUERY[index + 1 :]
    if mutated != QUERY:
        assert refused(METHOD, PATH, ORG, mutated) in {"link_forged", "link_malformed"}


@given(query=st.text(max_size=80))
def test_no_query_breaks_it(query: str) -> None:
    refused(METHOD, PATH, ORG, query)


@pytest.mark.parametrize(
    "query",
    [
        "",
        QUERY + "&download=1",
        QUERY + "&" + QUERY,
        QUERY.replace("expires=", "expires=0"),
        QUERY.partition("&")[2],
        QUERY + "é",
        "expires=1&key=k2&signature=%ff",
        "expires=1&key=k2&signature=" + "a" * 600,
        f"expires={EXPIRES}&key=k2&signature=",
        f"expires={EXPIRES}&key=unknown&signature=",
        f"expires={EXPIRES}&key=&signature=",
    ],
)
def test_malformed_queries(query: str) -> None:
    assert refused(METHOD, PATH, ORG, query) in {"link_malformed", "link_forged"}


def test_keys_rotate_without_breaking_links() -> None:
    before = LinkSigner({"k1": OLD}, "k1").sign(METHOD, PATH, ORG, EXPIRES)
    SIGNER.verify(METHOD, PATH, ORG, before, 1_900_000_000)
    assert refused(METHOD, PATH, ORG, before, signer=LinkSigner({"k2": NEW}, "k2")) == "link_forged"


def test_an_expired_forgery_is_a_forgery() -> None:
    assert refused("PUT", PATH, ORG, QUERY, EXPIRES + 1) == "link_forged"


def test_weak_or_missing_keys_do_not_start() -> None:
    for keys, current in (({"k": b"short"}, "k"), ({"k": OLD}, "x"), ({"a&b": OLD}, "a&b")):
        with pytest.raises(ValueError, match="link key"):
            LinkSigner(keys, current)
    for expires_at_s in (0, -1, 10**12):
        with pytest.raises(ValueError, match="expires_at_s"):
            SIGNER.sign(METHOD, PATH, ORG, expires_at_s)
