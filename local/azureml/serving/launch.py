"""Start Microsoft's scoring server as a child that cannot be orphaned.

Run by the deployment's own interpreter, so it uses the standard library only.

`azmlinfsrv` has no option for the address it binds (it takes all interfaces) and its gunicorn workers are grandchildren of the
emulator, which the kernel would not kill with it. Both are put right here, before the server's own code runs.
"""

import ctypes
import importlib
import os
import signal
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Take the arguments of `azmlinfsrv` and serve on 127.0.0.1 only."""
    constants: Any = importlib.import_module("azureml_inference_server_http.constants")
    constants.DEFAULT_HOST = "127.0.0.1"
    os.register_at_fork(after_in_child=_die_with_parent)

    # Only now: the server copies the constants when it is imported.
    importlib.import_module("azureml_inference_server_http.amlserver").run()


if __name__ == "__main__":
    main()
