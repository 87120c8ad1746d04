"""Access tokens of the local stack: JWTs of the shape that Entra ID issues, signed with a key of the state folder.

Azurite (`--oauth basic`) checks issuer, audience and times; the emulators check the signature too.
"""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

import jwt

TENANT_ID = "00000000-0000-0000-0000-000000000002"
PRINCIPAL_ID = "00000000-0000-0000-0000-000000000001"
LIFETIME_SECONDS = 8 * 3600


class TokenIssuer:
    """Issues and verifies tokens. The signing key is kept in `key_file` (mode 600), so that tokens survive a restart."""

    def __init__(self, key_file: Path) -> None:
        if not key_file.exists():
            key_file.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
        self.key_file = key_file
        self._key = key_file.read_text()

    def issue(self, resource: str) -> tuple[str, int]:
        """Return (token, epoch second of its expiry) for an audience such as `https://storage.azure.com`."""
        now = int(time.time())
        expires = now + LIFETIME_SECONDS
        claims = {
            "aud": resource.removesuffix("/.default").rstrip("/"),
            "iss": f"https://sts.windows.net/{TENANT_ID}/",
            "iat": now,
            "nbf": now - 5,
            "exp": expires,
            "oid": PRINCIPAL_ID,
            "tid": TENANT_ID,
            "sub": PRINCIPAL_ID,
        }
        return jwt.encode(claims, self._key, algorithm="HS256"), expires

    def verify(self, token: str) -> str:
        """Return the token's audience; raise jwt.InvalidTokenError when it was not issued here or has expired."""
        claims = jwt.decode(token, self._key, algorithms=["HS256"], options={"verify_aud": False})
        return str(claims["aud"])
