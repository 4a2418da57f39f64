"""Where MLflow keeps traces: its server as a process of its own, a PostgreSQL to put under it.

Never here: what is written (the product), what is read back (stored_facts.py).
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from loopback import hold_port

_SERVER_STARTS_WITHIN_S = 120
ADMIN = ("admin", "-".join(("the", "admin", "of", "a", "test")))
USER = ("ada", "-".join(("the", "user", "of", "a", "test")))


class MlflowServer:
    """A real `mlflow server` on loopback that can be killed and started again.

    `python` chooses the MLflow that it runs. With `authentication` it is MLflow's own
    basic-auth, and `USER` is somebody who is no administrator.
    """

    def __init__(
        self,
        folder: Path,
        store_uri: str,
        *,
        python: Path = Path(sys.executable),
        authentication: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        self._options = options
        self._folder = folder
        self.store_uri = store_uri
        self._python = python
        self._authentication = authentication
        self._held = hold_port()  # also while it is down: it comes back at the same address
        self._port: int = self._held.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [str(self._python), "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self._port), "--workers", "1"]
        command += ["--backend-store-uri", self.store_uri]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        environment = {
            "HOME": str(self._folder),
            "PATH": f"{self._python.parent}{os.pathsep}{os.defpath}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "MLFLOW_MODEL_CATALOG_URI": "",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        command += self._options
        if self._authentication:
            command += ["--app-name", "basic-auth"]
            environment |= self._basic_auth()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _SERVER_STARTS_WITHIN_S
        while not self._answers():
            told = self._log.read_text()[-3000:] if self._process.poll() is not None else ""
            assert self._process.poll() is None, f"mlflow server ended by itself:\n{told}"
            assert time.monotonic() < deadline, "mlflow server did not come up"
            time.sleep(0.2)
        if self._authentication:
            self._make_user()

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def __enter__(self) -> "MlflowServer":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        self._held.close()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                return True
        except OSError:
            return False

    def _basic_auth(self) -> dict[str, str]:
        config = self._folder / "basic_auth.ini"
        name, password = ADMIN
        config.write_text(
            "[mlflow]\ndefault_permission = READ\n"
            f"database_uri = sqlite:///{self._folder}/users.db\n"
            f"admin_username = {name}\nadmin_password = {password}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        )
        return {
            "MLFLOW_AUTH_CONFIG_PATH": str(config),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "of this test alone",
        }

    def _make_user(self) -> None:
        name, password = USER
        request = urllib.request.Request(
            f"{self.uri}/api/2.0/mlflow/users/create",
            data=json.dumps({"username": name, "password": password}).encode(),
            headers={
                "Content-Type": "application/json",
                "Authorization": "Basic " + b64encode(":".join(ADMIN).encode()).decode(),
            },
        )
        with suppress(urllib.error.HTTPError):  # it was made before; else nothing will work
            urllib.request.urlopen(request, timeout=30).close()


class PostgresCluster:
    """A PostgreSQL of its own in a folder of its own, reached over a socket in it."""

    def __init__(self) -> None:
        self._programs = _postgres_programs()
        # Short: a socket's path has 107 characters at most. Readable for who runs PostgreSQL.
        self._folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self.uri = f"postgresql+psycopg2://postgres@/postgres?host={self._folder}"

    def __enter__(self) -> "PostgresCluster":
        data = self._folder / "data"
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres")
        self._run("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync")
        options = f"-c listen_addresses='' -c fsync=off -k {self._folder}"
        log = self._folder / "log"
        self._run("pg_ctl", "-D", str(data), "-o", options, "-l", str(log), "-w", "start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "stop")
        shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        done = subprocess.run(
            command,
            cwd=self._folder,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            user="postgres" if os.geteuid() == 0 else None,  # it does not run as root
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if program == "initdb" else subprocess.DEVNULL,
            text=True,
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"


def _postgres_programs() -> Path:
    """Debian keeps them out of PATH, in a folder for each version."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert versions, "There is no PostgreSQL here: tests/mlflow_stores/install-postgresql.sh"
    return versions[-1].parent
