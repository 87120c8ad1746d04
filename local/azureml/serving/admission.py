"""Who may score: the holders of a key, of the endpoint's token, or of an Entra ID token for Azure ML."""

from __future__ import annotations

import time
from pathlib import Path

import jwt

from local.azureml.serving.table import Endpoint
from local.identity import TokenIssuer


class Admission:
    """`signing_key`: the file of the key by which the local stack's access tokens are signed; None admits no such token."""

    def __init__(self, signing_key: Path | None) -> None:
        self._tokens = TokenIssuer(signing_key) if signing_key else None

    def admits(self, endpoint: Endpoint, authorization: str) -> bool:
        """True for `Bearer <what opens the endpoint>`."""
        if endpoint.audiences:
            return self._token_admits(endpoint, authorization)
        return endpoint.admits(authorization, time.time())

    def _token_admits(self, endpoint: Endpoint, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        if self._tokens is None or scheme.lower() != "bearer":
            return False
        try:
            audience = self._tokens.verify(token.strip())
        except jwt.InvalidTokenError:
            return False
        return audience.rstrip("/") in endpoint.audiences
