"""What Databricks answers, as far as MLflow's client documents it by what it asks.

No Databricks was ever asked: this stands for the shapes of requests, not for its behaviour.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit


class Databricks:
    """Keeps traces' records and the artifacts that were uploaded to the addresses it signed."""

    def __init__(self, experiment: tuple[str, str]) -> None:
        self.requests: list[tuple[str, str, str | None]] = []
        """method, path, Authorization"""
        self.records: dict[str, dict[str, Any]] = {}
        self.data: dict[str, dict[str, Any]] = {}
        self._experiment = dict(zip(("experiment_id", "name"), experiment, strict=True))
        databricks = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, value = databricks._answer(self.command, urlsplit(self.path).path, body)
                databricks.requests.append(
                    (self.command, urlsplit(self.path).path, self.headers.get("Authorization"))
                )
                content = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = answer

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        match method, path.strip("/").split("/"):
            case "GET", ["api", "2.0", "mlflow", "experiments", "get-by-name"]:
                location = {"artifact_location": "dbfs:/databricks/mlflow-tracking/7"}
                return 200, {"experiment": {**self._experiment, **location}}
            case "POST", ["api", "3.0", "mlflow", "traces"]:
                info = json.loads(body)["trace"]["trace_info"]
                known = self.records.setdefault(info["trace_id"], {})
                for name, value in info.items():
                    merges = name in ("tags", "trace_metadata")
                    known[name] = {**known.get(name, {}), **value} if merges else value
                folder = f"dbfs:/databricks/mlflow-tracking/7/{info['trace_id']}"
                where = {"mlflow.artifactLocation": folder}
                known["tags"] = {**where, **known.get("tags", {})}
                return 200, {"trace": {"trace_info": known}}
            case "GET", ["api", "3.0", "mlflow", "traces", trace_id] if trace_id in self.records:
                return 200, {"trace": {"trace_info": self.records[trace_id]}}
            case "GET", ["api", "2.0", "mlflow", "traces", trace_id, what] if what.startswith(
                "credentials-for-data-"
            ):
                uri = f"{self.host}/signed/{trace_id}"
                credential = {"type": "AWS_PRESIGNED_URL", "signed_uri": uri}
                return 200, {"credential_info": credential}
            case "PUT", ["signed", trace_id]:
                self.data[trace_id] = json.loads(body)
                return 200, {}
            case "GET", ["signed", trace_id] if trace_id in self.data:
                return 200, self.data[trace_id]
            case _:
                return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "nothing here"}

    def __enter__(self) -> "Databricks":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
