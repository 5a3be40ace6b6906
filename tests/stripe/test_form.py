"""Parameters: what the SDK encodes is what a verb reads, and nothing crashes the parser."""

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stripe._encode import _api_encode

from tests.stripe.server.errors import StripeError
from tests.stripe.server.form import Params, Tree, parse

words = st.text("abcdefghij_", min_size=1, max_size=8)
trees = st.recursive(
    st.text(min_size=1, max_size=8),
    lambda inner: st.dictionaries(words, inner, min_size=1, max_size=4) | st.lists(inner, min_size=1, max_size=3),
    max_leaves=12,
)


def numbered(value: object) -> object:
    """Lists as the parser keeps them: trees whose names count from 0."""
    if isinstance(value, list):
        return {str(number): numbered(item) for number, item in enumerate(value)}
    if isinstance(value, dict):
        return {name: numbered(item) for name, item in value.items()}
    return value


@given(st.dictionaries(words, trees, max_size=5))
def test_what_the_sdk_encodes_is_read(sent: Tree) -> None:
    assert parse(urlencode(list(_api_encode(sent)))) == numbered(sent)


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        tree = parse(text)
    except (StripeError, ValueError):
        return
    assert isinstance(tree, dict)


def test_empty_brackets_count_on() -> None:
    assert parse("a[]=x&a[]=y&b[][c]=z") == {"a": {"0": "x", "1": "y"}, "b": {"0": {"c": "z"}}}


@pytest.mark.parametrize("text", ["a[b=1", "a=1&a[b]=2", "a[b]=1&a[b][c]=2"])
def test_a_name_that_contradicts_itself_is_refused(text: str) -> None:
    with pytest.raises(StripeError):
        parse(text)


@pytest.mark.parametrize(
    "text, param",
    [("a[b][c]=1&x=2", "x"), ("a[b][d]=1", "a[b][d]"), ("a[b][c]=1&a[e]=1", "a[e]")],
)
def test_what_nobody_read_is_named(text: str, param: str) -> None:
    p = Params(parse(text))
    p.inner("a").inner("b").integer("c")
    with pytest.raises(StripeError) as caught:
        p.end()
    assert (caught.value.body["code"], caught.value.body["param"]) == ("parameter_unknown", param)
