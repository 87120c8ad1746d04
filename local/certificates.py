"""The local stack's certificate authority: made once, kept in the state folder, trusted through environment variables only."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import certifi
import trustme


@dataclass(frozen=True)
class Certificates:
    """PEM files of the local authority: `bundle` holds the public CAs and ours, `certificate`/`key` serve 127.0.0.1."""

    bundle: Path
    certificate: Path
    key: Path

    def ssl_context(self) -> ssl.SSLContext:
        """For clients: trusts the public authorities and the local one."""
        return ssl.create_default_context(cafile=self.bundle)

    def environment(self) -> dict[str, str]:
        """The variables by which requests, httpx, OpenSSL and Node come to trust the local authority."""
        bundle = str(self.bundle)
        return {"REQUESTS_CA_BUNDLE": bundle, "SSL_CERT_FILE": bundle, "CURL_CA_BUNDLE": bundle, "NODE_EXTRA_CA_CERTS": bundle}


def ensure_certificates(folder: Path) -> Certificates:
    """Return the authority kept in `folder`; make it on first use. The CA's own private key is never written to disk."""
    certificates = Certificates(folder / "ca-bundle.pem", folder / "localhost.pem", folder / "localhost.key")
    if all(path.exists() for path in (certificates.bundle, certificates.certificate, certificates.key)):
        return certificates
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA(organization_name="Tidegate local stack")
    issued = authority.issue_cert("127.0.0.1", "localhost")
    issued.cert_chain_pems[0].write_to_path(str(certificates.certificate))
    with os.fdopen(os.open(certificates.key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as key:
        key.write(issued.private_key_pem.bytes())
    # Written last: its presence says that the other two are whole and belong to it.
    certificates.bundle.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
    return certificates
