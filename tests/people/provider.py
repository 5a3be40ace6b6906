"""An OpenID provider that can be told to lie, as a process of its own: `python provider.py` prints its port.

`POST /next` says what is false about the tokens to come: {"claims": {…}, "alg": "none", "kid": "…", "rotate": true}. It checks
what a client sends as a strict provider does: the secret, the code once, the redirect URI, and PKCE.
"""

import base64
import hashlib
import json
import secrets
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

CLIENT, CLIENT_SECRET = "tallylight", "a secret: of/the client"
HONEST: dict[str, Any] = {"sub": "ann", "email": "ann@example.com", "email_verified": True}


class Provider:
    def __init__(self) -> None:
        self.url = ""
        self.codes: dict[str, dict[str, str]] = {}
        self.keys = [self._key()]
        self.next: dict[str, Any] = {}

    def _key(self) -> RSAKey:
        return RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "alg": "RS256", "use": "sig"})

    def told(self, lie: dict[str, Any]) -> None:
        if lie.pop("rotate", False):
            self.keys = [self._key()]
        self.next = lie

    def token(self, asked: dict[str, str]) -> str:
        now, lie = int(time.time()), self.next
        claims = {
            "iss": self.url,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            **HONEST,
            **lie.get("claims", {}),
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        match lie.get("alg", "RS256"):
            case "none":
                parts = ({"alg": "none", "typ": "JWT"}, claims)
                return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."
            case "HS256":
                return jwt.encode({"alg": "HS256", "kid": self.keys[0].kid}, claims, OctKey.import_key(CLIENT_SECRET * 2))
            case _:
                key = self._key() if lie.get("stranger") else self.keys[0]
                return jwt.encode({"alg": "RS256", "kid": self.keys[0].kid}, claims, key)


provider = Provider()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        url = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        match url.path:
            case "/.well-known/openid-configuration":
                paths = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/keys"}
                self.say(
                    {
                        "issuer": provider.next.get("issuer", provider.url),
                        **{name: provider.url + path for name, path in paths.items()},
                    }
                )
            case "/keys":
                self.say({"keys": [key.as_dict(private=False) for key in provider.keys]})
            case "/authorize":
                code = secrets.token_urlsafe()
                provider.codes[code] = asked
                self.send_response(302)
                self.send_header(
                    "location",
                    asked["redirect_uri"] + "?" + urlencode({"code": code, "state": asked["state"], "session_state": "x"}),
                )
                self.end_headers()
            case _:
                self.say({}, 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        if self.path == "/next":
            provider.told(json.loads(body))
            self.say({})
            return
        given = {name: values[0] for name, values in parse_qs(body).items()}
        asked = provider.codes.pop(given["code"], None)
        pair = base64.b64encode(
            f"{CLIENT}:{CLIENT_SECRET.replace(' ', '%20').replace(':', '%3A').replace('/', '%2F')}".encode()
        ).decode()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(given["code_verifier"].encode()).digest()).decode().rstrip("=")
        if (
            asked is None
            or self.headers["authorization"] != f"Basic {pair}"
            or (asked["redirect_uri"], asked["code_challenge"], asked["code_challenge_method"])
            != (given["redirect_uri"], challenge, "S256")
        ):
            self.say({"error": "invalid_grant"}, 400)
            return
        self.say({"access_token": "x", "token_type": "Bearer", "id_token": provider.token(asked)})

    def say(self, body: dict[str, Any], status: int = 200) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.url = f"http://127.0.0.1:{server.server_port}"
    print(server.server_port, flush=True)
    server.serve_forever()
