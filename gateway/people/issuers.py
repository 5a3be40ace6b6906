"""Issuers of OpenID Connect: where they are asked, and what of their answers is believed.

Everything that is asked goes through the guard of the way out: an issuer is an address that a customer names.
"""

import base64
from datetime import datetime
from time import monotonic
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from gateway.access.model import Email
from gateway.egress.errors import EgressError
from gateway.egress.guard import Egress
from gateway.errors import ProviderFailed, SignInRefused
from gateway.people.providers import Identity, Provider

Said = TypeVar("Said")

_KNOWN_S, _KNOWN_MAX = 3600.0, 256
_TIMEOUT_S, _BYTES_MAX = 10.0, 256 * 1024
_LEEWAY_S = 60
"""Between the issuer's clock and the database's."""
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""With a key of the issuer's alone: neither none, nor what the client's own secret could sign."""


class _Metadata(msgspec.Struct, frozen=True):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class _Keys(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str


class _Claims(msgspec.Struct, frozen=True):
    sub: str
    email: Email | None = None
    email_verified: bool = False


class Issuers:
    """One per process. What an issuer says of itself, and its keys, are known for an hour; a new key is asked for at once."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._known: dict[str, tuple[float, bytes]] = {}

    async def authorization_url(self, provider: Provider, redirect_uri: str, *, state: str, nonce: str, challenge: str) -> str:
        """Where the browser is sent. Raises ProviderFailed."""
        endpoint = (await self.metadata(provider.issuer)).authorization_endpoint
        asked = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": redirect_uri,
            "scope": "openid email",
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(asked)}"

    async def identity(
        self, provider: Provider, redirect_uri: str, *, code: str, verifier: str, nonce: str, now: datetime
    ) -> Identity:
        """Whom the code stands for. Raises ProviderFailed, SignInRefused."""
        about = await self.metadata(provider.issuer)
        given = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri, "code_verifier": verifier}
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        if "client_secret_basic" in about.token_endpoint_auth_methods_supported:
            pair = f"{quote(provider.client_id, safe='')}:{quote(provider.client_secret, safe='')}"
            headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            given |= {"client_id": provider.client_id, "client_secret": provider.client_secret}
        try:
            answer = await self._egress.post(
                about.token_endpoint, urlencode(given).encode(), headers, bytes_max=_BYTES_MAX, timeout_s=_TIMEOUT_S
            )
        except EgressError as error:
            raise ProviderFailed(f"the provider's token endpoint: {error.detail}") from error
        if 400 <= answer.status < 500:
            raise SignInRefused(f"the provider refused the code ({answer.status}); begin again, or check the client's secret")
        if answer.status != 200:
            raise ProviderFailed(f"the provider's token endpoint answered {answer.status}")
        return await self._believed(provider, about, _decoded(answer.body, _Tokens).id_token, nonce, now)

    async def metadata(self, issuer: str) -> _Metadata:
        """What the issuer says of itself. Raises ProviderFailed, also where it is another issuer that says so."""
        about = _decoded(await self._read(issuer.rstrip("/") + "/.well-known/openid-configuration"), _Metadata)
        if about.issuer != issuer:
            raise ProviderFailed(f"{issuer} says that it is {about.issuer[:200]!r}; set the issuer exactly as it names itself")
        try:
            self._egress.check(about.authorization_endpoint)  # also where only a browser will go
        except EgressError as error:
            raise ProviderFailed(f"the provider's authorization endpoint: {error.detail}") from error
        return about

    async def _believed(self, provider: Provider, about: _Metadata, id_token: str, nonce: str, now: datetime) -> Identity:
        """OpenID Connect Core §3.1.3.7. Raises SignInRefused naming the claim."""
        try:
            token = await self._signed(about, id_token)
            expected: Any = {
                "iss": {"essential": True, "value": provider.issuer},
                "aud": {"essential": True, "value": provider.client_id},
                "sub": {"essential": True},
                "nonce": {"essential": True, "value": nonce},
            }
            params = {"nonce": nonce, "client_id": provider.client_id}
            checked: Any = CodeIDToken(token.claims, token.header, expected, params)
            checked.validate(int(now.timestamp()), _LEEWAY_S)
            claims = msgspec.convert(token.claims, _Claims)
        except (JoseError, ValueError, TypeError) as error:
            raise SignInRefused(
                f"the provider's word was not believed ({error}); begin again, or tell whoever set it up"
            ) from error
        if not claims.email or not claims.email_verified:
            raise SignInRefused("the provider has not verified an e-mail address of yours")
        if not 0 < len(claims.sub) <= 255:
            raise SignInRefused("the provider's subject must have 1 to 255 characters")
        return Identity(provider.issuer, claims.sub, claims.email.lower())

    async def _signed(self, about: _Metadata, id_token: str) -> jwt.Token:
        """Keys change: one that is not known yet is looked for once more. Raises JoseError, ValueError, ProviderFailed."""
        try:
            return jwt.decode(id_token, await self._keys(about, anew=False), algorithms=_ALGORITHMS)
        except InvalidKeyIdError:
            return jwt.decode(id_token, await self._keys(about, anew=True), algorithms=_ALGORITHMS)

    async def _keys(self, about: _Metadata, *, anew: bool) -> KeySet:
        found = _decoded(await self._read(about.jwks_uri, anew=anew), _Keys)
        return KeySet.import_key_set(msgspec.to_builtins(found))

    async def _read(self, url: str, *, anew: bool = False) -> bytes:
        known = self._known.get(url)
        if known is not None and not anew and monotonic() - known[0] < _KNOWN_S:
            return known[1]
        try:
            body = (await self._egress.get(url, bytes_max=_BYTES_MAX, timeout_s=_TIMEOUT_S)).body
        except EgressError as error:
            raise ProviderFailed(f"{url}: {error.detail}") from error
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known[url] = (monotonic(), body)
        return body


def _decoded(body: bytes, kind: type[Said]) -> Said:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProviderFailed(f"the provider did not answer as OpenID Connect says: {error}") from error
