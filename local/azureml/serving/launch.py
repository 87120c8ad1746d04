"""Start Microsoft's scoring server as a child that cannot be orphaned.

Run by the deployment's own interpreter, so it uses the standard library only.

`azmlinfsrv` has no option for the address it binds (it takes all interfaces) and its gunicorn workers are grandchildren of the
emulator, which the kernel would not kill with it. Both are put right here, before the server's own code runs. Its worker class,
timeouts and everything else stay as Azure runs them (docs/adr/0005-connections-to-scoring-processes.md).
"""

import ctypes
import importlib
import os
import signal
import socket
import sys
from importlib import metadata
from typing import Any

_PR_SET_PDEATHSIG = 1
_FIRST_PASSED = 3
"""File descriptors that are handed over to a server start here (systemd's convention, which gunicorn follows)."""
_DEFER_SECONDS = 60
"""Longer than the router keeps a connection that it opened ahead of need."""


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _listen(port: int) -> None:
    """Open the listening socket ourselves and hand it to gunicorn, with what gunicorn has no setting for.

    With TCP_DEFER_ACCEPT a connection is given to a worker when its request arrives, not when it is opened: the router's spare
    connections would block gunicorn's sync workers otherwise.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _DEFER_SECONDS)
    listener.bind(("127.0.0.1", port))
    listener.listen(2048)  # gunicorn's own default
    if listener.fileno() == _FIRST_PASSED:
        os.set_inheritable(listener.detach(), True)
    else:
        os.dup2(listener.fileno(), _FIRST_PASSED)
        listener.close()
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")


def _borrow_the_server() -> bool:
    """Let an environment without the inference server import it from where it is; whatever it has of its own comes first."""
    folder = os.environ.pop("TIDEGATE_SERVER_PACKAGES", None)
    if folder is None:
        return False
    sys.path.append(folder)
    if unmet := _unmet():
        sys.stdout.write(f"The inference server is borrowed, and runs with other packages than it asks for: {unmet}\n")
        sys.stdout.flush()
    return True


def _unmet() -> str:
    """What the server's own package asks for, and what it finds instead: "pydantic~=2.12.0, here 2.14.3; ..."."""
    requirements: Any = importlib.import_module("packaging.requirements")  # the server's gunicorn needs it too
    found = []
    for line in metadata.requires("azureml_inference_server_http") or ():
        asked = requirements.Requirement(line)
        if asked.marker is not None and not asked.marker.evaluate():
            continue
        try:
            version = metadata.version(asked.name)
        except metadata.PackageNotFoundError:
            version = "none"
        if version == "none" or not asked.specifier.contains(version, prereleases=True):
            found.append(f"{asked.name}{asked.specifier}, here {version}")
    return "; ".join(found)


def _server(*, borrowed: bool) -> Any:
    """The server's module; ImportError says what is wrong with a borrowed one."""
    try:
        constants: Any = importlib.import_module("azureml_inference_server_http.constants")
        constants.DEFAULT_HOST = "127.0.0.1"
        # Only now: the server copies the constants when it is imported.
        return importlib.import_module("azureml_inference_server_http.amlserver")
    except Exception as error:
        if not borrowed:
            raise
        unmet = _unmet() or "none, as far as their versions say"
        advice = "Give the environment the package azureml-inference-server-http, or the deployment a script and an environment."
        raise ImportError(f"The borrowed inference server cannot be imported here. Unmet: {unmet}. {advice}") from error


def main() -> None:
    """Take the arguments of `azmlinfsrv` and serve on 127.0.0.1 only."""
    borrowed = _borrow_the_server()
    if hasattr(socket, "TCP_DEFER_ACCEPT"):
        _listen(int(sys.argv[sys.argv.index("--port") + 1]))
    os.register_at_fork(after_in_child=_die_with_parent)
    _server(borrowed=borrowed).run()


if __name__ == "__main__":
    main()
