"""What Databricks answers, as far as MLflow's client documents it by what it asks.

No Databricks was ever asked: this stands for the shapes of requests, not for its behaviour.
"""

import json
from typing import Any

from loopback import Answer, Loopback, Request


class Databricks(Loopback):
    """Keeps traces' records and the artifacts that were uploaded to the addresses it signed."""

    def __init__(self, experiment: tuple[str, str]) -> None:
        self.requests: list[tuple[str, str, str | None]] = []
        """method, path, Authorization"""
        self.records: dict[str, dict[str, Any]] = {}
        self.data: dict[str, dict[str, Any]] = {}
        self._experiment = dict(zip(("experiment_id", "name"), experiment, strict=True))
        super().__init__(self._answered)

    def _answered(self, request: Request) -> Answer:
        self.requests.append((request.method, request.path, request.headers.get("authorization")))
        status, value = self._answer(request.method, request.path, request.body)
        return Answer(
            status=status,
            headers={"Content-Type": "application/json"},
            body=json.dumps(value).encode(),
        )

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
                uri = f"{self.uri}/signed/{trace_id}"
                credential = {"type": "AWS_PRESIGNED_URL", "signed_uri": uri}
                return 200, {"credential_info": credential}
            case "PUT", ["signed", trace_id]:
                self.data[trace_id] = json.loads(body)
                return 200, {}
            case "GET", ["signed", trace_id] if trace_id in self.data:
                return 200, self.data[trace_id]
            case _:
                return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "nothing here"}
