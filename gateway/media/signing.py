"""Signed links: who holds one may fetch one file of one organization until it expires, with no API key."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

import msgspec

from gateway.media.errors import LinkRefused

_KEY_BYTES_MIN = 32
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_EXPIRES = re.compile(r"[1-9][0-9]{0,11}")
_QUERY_CHARACTERS_MAX = 512
_FIELDS = ("expires", "key", "signature")


class LinkSigner:
    """Signs with the key `current`; verifies with every key of `keys`, so that keys rotate without breaking links.

    `keys` maps a key id to at least 32 secret bytes. Raises ValueError for a weak or missing key.
    """

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        for key_id, key in keys.items():
            if not _KEY_ID.fullmatch(key_id):
                raise ValueError(f"link key id {key_id!r} may hold letters, digits, '_' and '-' only, 32 at most")
            if len(key) < _KEY_BYTES_MIN:
                raise ValueError(f"link key {key_id!r} has {len(key)} bytes; give it {_KEY_BYTES_MIN} or more")
        if current not in keys:
            raise ValueError(f"the current link key {current!r} is not among the keys")
        self._keys = dict(keys)
        self._current = current

    def sign(self, method: str, path: str, org_id: str, expires_at_s: int) -> str:
        """The query string of a link that works until `expires_at_s` (Unix seconds). `path` is as sent on the wire."""
        expires = str(expires_at_s)
        if not _EXPIRES.fullmatch(expires):
            raise ValueError(f"expires_at_s must be a positive Unix time of at most 12 digits, not {expires}")
        signature = self._signature(self._current, method, path, org_id, expires)
        return urlencode(dict(zip(_FIELDS, (expires, self._current, signature), strict=True)))

    def verify(self, method: str, path: str, org_id: str, query: str, now_s: float) -> None:
        """Return if `query` was signed here for exactly this request and has not expired; raise LinkRefused if not.

        A query with anything besides the three signed parameters is refused: what is not signed must not be obeyed.
        """
        expires, key_id, signature = _parse(query)
        # An unknown key id and a wrong signature are one answer after the same work: key ids cannot be listed from outside.
        known = key_id if key_id in self._keys else self._current
        expected = self._signature(known, method, path, org_id, expires)
        if not hmac.compare_digest(expected.encode(), signature.encode()) or known != key_id:
            raise LinkRefused("link_forged", "this link was not signed here for this request; ask for a new link")
        if now_s >= int(expires):
            raise LinkRefused("link_expired", "this link has expired; ask for a new link")

    def _signature(self, key_id: str, method: str, path: str, org_id: str, expires: str) -> str:
        # JSON delimits the fields: no two different requests give the same message.
        message = msgspec.json.encode(("tallylight-link-1", method, path, org_id, expires, key_id))
        digest = hmac.digest(self._keys[key_id], message, hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _parse(query: str) -> tuple[str, str, str]:
    malformed = LinkRefused("link_malformed", "this link is incomplete; copy the whole link, or ask for a new one")
    if len(query) > _QUERY_CHARACTERS_MAX:
        raise malformed
    try:
        pairs = parse_qsl(query, strict_parsing=True, errors="strict", keep_blank_values=True, max_num_fields=3)
    except ValueError as error:
        raise malformed from error
    fields = dict(pairs)
    if len(pairs) != 3 or set(fields) != set(_FIELDS) or not _EXPIRES.fullmatch(fields["expires"]):
        raise malformed
    return fields["expires"], fields["key"], fields["signature"]
