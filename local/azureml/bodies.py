"""Bodies of requests, read up to a limit: nobody fills this process's memory."""

from __future__ import annotations

from starlette.requests import Request

from local.azureml.errors import AzureError

LARGEST = 4 * 1024 * 1024
"""Bytes; Azure Resource Manager's own limit. Files go to storage, not through here."""


async def read_body(request: Request) -> bytes:
    """The whole body; 413 as soon as it is longer than `LARGEST`."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST:
            raise AzureError(413, "RequestContentTooLarge", f"The request content is larger than {LARGEST} bytes.")
    return bytes(body)
