"""Secrets that must be read again: sealed with the operator's own, so that a copy of the database opens nothing."""

import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import SignInRefused

_NONCE_BYTES = 12


class Seal:
    """AES-256-GCM. `master` is the setting `sign_in_secret`; `about` names the row, so that no value can stand in for another."""

    def __init__(self, master: str) -> None:
        self._cipher = AESGCM(hmac.digest(master.encode(), b"people/seal", "sha256"))

    def close(self, secret: bytes, about: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, about.encode())

    def open(self, sealed: bytes, about: str) -> bytes:
        """Raises SignInRefused for what was sealed by another master or for another row."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], about.encode())
        except InvalidTag as error:
            raise SignInRefused("what is kept of this sign-in was sealed with another sign_in_secret; set it up anew") from error
