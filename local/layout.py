"""Where the local stack's parts are: ports, folders, and the environment variables that lead an Azure SDK to them."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from local.azureml.environment import azure_variables, identity_header
from local.certificates import Certificates, ensure_certificates
from local.monitor.traffic_log import WORKSPACE_ID
from local.processes import free_port
from local.storage.azurite import ACCOUNT

SUBSCRIPTION_ID = "00000000-0000-0000-0000-000000000000"
RESOURCE_GROUP = "tidegate-local"
WORKSPACE = "tidegate-local"
LEDGER_CONTAINER = "tidegate-ledger"
DEAD_LETTER_CONTAINER = "tidegate-dead-letters"


def git_commit() -> str:
    """The commit of this working tree (`+changes` when files differ from it); `unknown` without git."""
    folder = Path(__file__).parent
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=folder, capture_output=True, check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip() + ("+changes" if changed else "")


@dataclass(frozen=True)
class Ports:
    """TCP ports on 127.0.0.1."""

    azureml: int = 5443
    router: int = 5444
    mlflow: int = 5050
    eventgrid: int = 5046
    host: int = 7071
    blob: int = 10000
    queue: int = 10001

    @classmethod
    def free(cls) -> Ports:
        """Ports that nobody listens on now, for tests and for a second stack beside the first."""
        names = list(cls.__dataclass_fields__)
        return cls(**{name: free_port() for name in names})


@dataclass(frozen=True)
class StackEnvironment:
    """One stack's addresses and secrets. `state` holds everything that it keeps."""

    state: Path
    ports: Ports
    identity_header: str
    certificates: Certificates
    config: Path

    @classmethod
    def prepare(cls, state: Path, ports: Ports, config: Path) -> StackEnvironment:
        """Make (or read back) the certificates and the identity header of a state folder."""
        state = state.resolve()
        state.mkdir(parents=True, exist_ok=True)
        state.chmod(0o700)  # logs, keys and data: for this user alone
        return cls(state, ports, identity_header(state), ensure_certificates(state / "certificates"), config.resolve())

    @property
    def signing_key(self) -> Path:
        """The key file of the stack's token issuer."""
        return self.state / "identity" / "signing.key"

    @property
    def base_url(self) -> str:
        return f"https://127.0.0.1:{self.ports.azureml}"

    @property
    def workspace_id(self) -> str:
        group = f"/subscriptions/{SUBSCRIPTION_ID}/resourceGroups/{RESOURCE_GROUP}"
        return f"{group}/providers/Microsoft.MachineLearningServices/workspaces/{WORKSPACE}"

    @property
    def storage_account_id(self) -> str:
        group = f"/subscriptions/{SUBSCRIPTION_ID}/resourceGroups/{RESOURCE_GROUP}"
        return f"{group}/providers/Microsoft.Storage/storageAccounts/{ACCOUNT}"

    @property
    def blob_url(self) -> str:
        return f"https://127.0.0.1:{self.ports.blob}/{ACCOUNT}"

    @property
    def queue_url(self) -> str:
        return f"https://127.0.0.1:{self.ports.queue}/{ACCOUNT}"

    @property
    def eventgrid_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.eventgrid}"

    @property
    def mlflow_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.mlflow}"

    @property
    def host_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.host}"

    def ssl_context(self) -> ssl.SSLContext:
        """Trusts the public CAs and the stack's own."""
        return self.certificates.ssl_context()

    def azure_variables(self) -> dict[str, str]:
        """What leads azure-identity, azure-ai-ml and the storage SDKs here instead of to Azure."""
        return azure_variables(self.base_url, self.identity_header, self.certificates)

    def app_settings(self) -> dict[str, str]:
        """The app settings, the same names as in Azure (local.settings.json.example explains each)."""
        storage = {
            f"{connection}__{service}ServiceUri": url
            for connection in ("TIDEGATE_STORAGE", "AzureWebJobsStorage")
            for service, url in (("blob", self.blob_url), ("queue", self.queue_url))
        }
        return {
            "FUNCTIONS_WORKER_RUNTIME": "python",
            "TIDEGATE_SUBSCRIPTION_ID": SUBSCRIPTION_ID,
            "TIDEGATE_RESOURCE_GROUP": RESOURCE_GROUP,
            "TIDEGATE_WORKSPACE": WORKSPACE,
            "TIDEGATE_RESOURCE_MANAGER": f"{self.base_url}/",
            "TIDEGATE_LOG_ANALYTICS": f"{self.base_url}/",
            "TIDEGATE_LOG_ANALYTICS_WORKSPACE": WORKSPACE_ID,
            "TIDEGATE_DATA__blobServiceUri": self.blob_url,
            "TIDEGATE_LEDGER_CONTAINER": LEDGER_CONTAINER,
            "TIDEGATE_DEAD_LETTER_CONTAINER": DEAD_LETTER_CONTAINER,
            "TIDEGATE_CONFIG": str(self.config),
            "TIDEGATE_GIT_COMMIT": git_commit(),
            **storage,
        }

    def variables(self) -> dict[str, str]:
        return {**self.azure_variables(), **self.app_settings()}

    def save(self) -> None:
        """Write what `python -m local env` reads back (mode 600: it holds the identity header)."""
        body = {"ports": asdict(self.ports), "config": str(self.config)}
        with os.fdopen(os.open(self.state / "stack.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(body, file, indent=2)

    @classmethod
    def load(cls, state: Path) -> StackEnvironment:
        """Raise FileNotFoundError when no stack was ever started on this state folder."""
        body = json.loads((state / "stack.json").read_text())
        return cls.prepare(state, Ports(**body["ports"]), Path(body["config"]))
