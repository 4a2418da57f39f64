"""The road to an MLflow server: OTLP for the spans, REST for a trace's record.

Needs no mlflow package. What the spans and the record say is decided in
`mlflow_view.py` and `trace_record.py`.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

import requests
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    KeyValue,
    KeyValueList,
)
from opentelemetry.sdk.trace import ReadableSpan

from claude_otel.content import clean
from claude_otel.export.http_pools import close_pools
from claude_otel.export.mlflow_road import STORES_OWN_TAGS, Experiment, merges_records, only_trace
from claude_otel.export.mlflow_view import attributes_in_mlflow, resource_in_mlflow
from claude_otel.export.outcome import (
    DELIVERED,
    Outcome,
    local_cause,
    outcome_of_status,
    refused,
    unavailable,
)
from claude_otel.export.span_copy import encodable, rebuilt
from claude_otel.export.trace_record import TraceRecord
from claude_otel.masking import mask

log = logging.getLogger("claude_otel")

_TIMEOUT_S: Final = (5.0, 30.0)  # to connect, and between two bytes of an answer
_JSON: Final = {"Content-Type": "application/json"}


class HttpRoad:
    """Delivers to one experiment of the MLflow server at an http(s) address."""

    def __init__(
        self, tracking_uri: str, experiment: Experiment, *, environ: Mapping[str, str]
    ) -> None:
        self._base = tracking_uri.rstrip("/")
        self._shown = mask("", self._base)  # what is said is kept in the log and the ledger
        self._experiment = experiment
        self._experiment_id = experiment.id
        self._merges: bool | None = None
        self._environ = environ
        self._session = _session(environ)
        self._credentials_read: tuple[int, int] | None = None

    def log_spans(self, spans: Sequence[ReadableSpan]) -> Outcome:
        try:
            body = _encoded(spans)
        except Exception as error:
            return refused(f"the span cannot be encoded: {error}")

        def post(experiment_id: str) -> requests.Response:
            media_type = "application/x-protobuf"
            headers = {"Content-Type": media_type, "x-mlflow-experiment-id": experiment_id}
            return self._post("/v1/traces", data=body, headers=headers)

        return self._into_experiment(post, of_trace=only_trace(spans))

    def write_record(self, record: TraceRecord) -> Outcome:
        def post(experiment_id: str) -> requests.Response:
            its = self._experiment_of(record.trace_id) if record.is_shared else None
            info = _record_info(record, its or experiment_id)
            if record.only_totals or not self._server_merges():
                info = _joined(self._known(record.trace_id), info)
            body = json.dumps({"trace": {"trace_info": info}}).encode()
            return self._post("/api/3.0/mlflow/traces", data=body, headers=_JSON)

        return self._into_experiment(post, of_trace=record.trace_id)

    def read_spans(self, trace_id: str) -> Sequence[Mapping[str, Any]] | Outcome:
        answers: list[requests.Response] = []

        def get(experiment_id: str) -> requests.Response:
            # What MLflow's own UI reads, in every version.
            path = "/ajax-api/2.0/mlflow/get-trace-artifact"
            answers.append(self._get(path, {"request_id": trace_id}))
            return answers[0]

        outcome = self._into_experiment(get)
        if outcome.delivered:
            return answers[0].json()["spans"]
        # Where a server does not say what others logged, our own notes must do.
        is_untold = bool(answers) and answers[0].status_code in (403, 404)
        return () if is_untold else _waiting(outcome)

    def close(self) -> None:
        close_pools(self._session)
        self._session.close()

    def _into_experiment(
        self, post: Callable[[str], requests.Response], *, of_trace: str | None = None
    ) -> Outcome:
        """Call `post` with the experiment's id; tell a bad batch from a bad experiment.

        `of_trace`, which it is about, may be in another one, by a caller or an earlier setup.
        From 3.18 on a server refuses what does not go there.
        """
        try:
            self._authenticate()
            if self._experiment_id is None:
                self._experiment_id = self._resolve()
            response = post(self._experiment_id)
            outcome = _outcome(response)
            if outcome.delivered or response.status_code not in (400, 404):
                return outcome
            # A deleted experiment answers like a bad span; the spans must wait, not be refused.
            ours = self._experiment_id
            if (trouble := self._experiment_trouble(ours)) is not None:
                return trouble
            its = of_trace and self._experiment_of(of_trace)
            return _outcome(post(its)) if its and its != ours else outcome
        except _Unresolved as trouble:
            return trouble.outcome
        except requests.RequestException as error:
            return unavailable(
                f"no answer from the MLflow server {self._shown}: {_reason(error)}. "
                "Start the server or correct the tracking URI."
            )
        except (OSError, UnicodeError) as error:  # a missing certificate file, a header that is
            # no text: it is our side, and no fault of the spans
            return unavailable(
                f"nothing was sent to the MLflow server {self._shown}: {local_cause(error)}. "
                "Correct MLFLOW_TRACKING_SERVER_CERT_PATH, _CLIENT_CERT_PATH, "
                "_USERNAME, _PASSWORD or _TOKEN."
            )

    def _authenticate(self) -> None:
        """By MLflow's variables and its credentials file, which may come or change at any time."""
        file = Path(self._environ.get("HOME") or Path.home()) / ".mlflow" / "credentials"
        try:
            found = file.stat()
        except OSError:
            read = (0, 0)
        else:
            read = (found.st_mtime_ns, found.st_size)
        if read != self._credentials_read:
            self._credentials_read = read
            self._session.auth = _user_and_password(self._environ, _kept_credentials(file))

    def _server_merges(self) -> bool:
        if self._merges is None:
            told = self._get("/version", {})
            if told.status_code >= 500:
                raise _Unresolved(_waiting(_outcome(told)))
            self._merges = told.status_code == 200 and merges_records(told.text)
        return self._merges

    def _known(self, trace_id: str) -> dict[str, Any]:
        """What the server has of a trace's record."""
        found = self._get(f"/api/3.0/mlflow/traces/{trace_id}", {})
        if found.status_code == 404:
            return {}
        if found.status_code != 200:
            raise _Unresolved(_waiting(_outcome(found)))
        return found.json()["trace"]["trace_info"]

    def _experiment_of(self, trace_id: str) -> str | None:
        location = self._known(trace_id).get("trace_location", {})
        return location.get("mlflow_experiment", {}).get("experiment_id")

    def _resolve(self) -> str:
        """Find the experiment by its name, or create it."""
        name = self._experiment.name
        if name is None:
            return "0"  # the server's Default experiment
        found = self._get("/api/2.0/mlflow/experiments/get-by-name", {"experiment_name": name})
        if found.status_code == 404:
            body = json.dumps({"name": name}).encode()
            created = self._post("/api/2.0/mlflow/experiments/create", data=body, headers=_JSON)
            if created.status_code == 200:
                return str(created.json()["experiment_id"])
            # Another process may have created it in between.
            found = self._get("/api/2.0/mlflow/experiments/get-by-name", {"experiment_name": name})
        if found.status_code != 200:
            raise _Unresolved(_waiting(_outcome(found)))
        experiment = found.json()["experiment"]
        if experiment.get("lifecycle_stage") == "deleted":
            raise _Unresolved(_deleted(name))
        return str(experiment["experiment_id"])

    def _experiment_trouble(self, experiment_id: str) -> Outcome | None:
        found = self._get("/api/2.0/mlflow/experiments/get", {"experiment_id": experiment_id})
        gone = found.status_code == 404
        if not gone and found.status_code != 200:
            return _waiting(_outcome(found))
        if not gone and found.json()["experiment"].get("lifecycle_stage") != "deleted":
            return None
        self._experiment_id = self._experiment.id  # by name: look again, it may be made anew
        return _deleted(self._experiment.name or experiment_id)

    def _get(self, path: str, query: Mapping[str, str]) -> requests.Response:
        return self._session.get(
            self._base + path, params=dict(query), timeout=_TIMEOUT_S, allow_redirects=False
        )

    def _post(self, path: str, *, data: bytes, headers: Mapping[str, str]) -> requests.Response:
        return self._session.post(
            self._base + path,
            data=data,
            headers=dict(headers),
            timeout=_TIMEOUT_S,
            allow_redirects=False,
        )


class _Unresolved(Exception):
    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.error)
        self.outcome = outcome


def _session(environ: Mapping[str, str]) -> requests.Session:
    """Build a session with MLflow's own variables for a token, the workspace and TLS."""
    session = requests.Session()
    if token := environ.get("MLFLOW_TRACKING_TOKEN"):  # a user's password comes before it
        session.headers["Authorization"] = f"Bearer {token}"
    if workspace := environ.get("MLFLOW_WORKSPACE"):
        session.headers["X-MLFLOW-WORKSPACE"] = workspace
    if certificate := environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH"):
        session.verify = certificate
    elif environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
        session.verify = False
    if client_certificate := environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH"):
        session.cert = client_certificate
    return session


def _user_and_password(
    environ: Mapping[str, str], kept: Mapping[str, str]
) -> tuple[str, str] | None:
    user = environ.get("MLFLOW_TRACKING_USERNAME") or kept.get("mlflow_tracking_username")
    password = environ.get("MLFLOW_TRACKING_PASSWORD") or kept.get("mlflow_tracking_password")
    return (user, password) if user and password else None


def _kept_credentials(file: Path) -> Mapping[str, str]:
    """What MLflow keeps in its file, where it has one."""
    parser = ConfigParser(interpolation=None)
    try:
        parser.read(file)
    except (ConfigParserError, UnicodeDecodeError, OSError) as error:
        log.warning("MLflow's credentials file cannot be read: %s", type(error).__name__)
    return dict(parser["mlflow"]) if "mlflow" in parser else {}


def _encoded(spans: Sequence[ReadableSpan]) -> bytes:
    """Encode spans with MLflow's attributes as structures: each MLflow dumps them once itself.

    As JSON strings, older ones would show them as text and ignore the tokens in them (3.6).
    """
    plain: list[ReadableSpan] = []
    of_mlflow: list[dict[str, Any]] = []
    for span in spans:
        sent = encodable(span)
        view = attributes_in_mlflow(sent)
        of_mlflow.append({name: view.pop(name) for name in [*view] if name.startswith("mlflow.")})
        plain.append(
            rebuilt(
                sent,
                name=sent.name,
                attributes=view,
                events=sent.events,
                links=sent.links,
                status=sent.status,
                resource=resource_in_mlflow(sent),
            )
        )
    by_id = {_ids(span): values for span, values in zip(plain, of_mlflow, strict=True)}
    request = encode_spans(plain)
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for encoded in scope_spans.spans:
                for name, value in by_id[encoded.trace_id, encoded.span_id].items():
                    encoded.attributes.add(key=name, value=_any_value(value))
    return request.SerializeToString()


def _ids(span: ReadableSpan) -> tuple[bytes, bytes]:
    context = span.get_span_context()
    assert context is not None  # checked when the facts were read
    return context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big")


def _any_value(value: Any) -> AnyValue:
    """Encode what JSON can say; OpenTelemetry's own encoder takes no null."""
    match value:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=value)
        case int() if -(2**63) <= value < 2**63:
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case Mapping():
            pairs = cast(Mapping[str, Any], value).items()
            named = [KeyValue(key=str(name), value=_any_value(inner)) for name, inner in pairs]
            return AnyValue(kvlist_value=KeyValueList(values=named))
        case list() | tuple():
            items = [_any_value(inner) for inner in cast(Sequence[Any], value)]
            return AnyValue(array_value=ArrayValue(values=items))
        case _:
            return AnyValue(string_value=str(value))


def _record_info(record: TraceRecord, experiment_id: str) -> dict[str, Any]:
    if record.only_totals:
        return {"trace_metadata": dict(record.metadata), "tags": {}}
    seconds, milliseconds = divmod(record.requested_at_ns // 10**6, 1000)
    requested_at = datetime.fromtimestamp(seconds, tz=UTC)
    info: dict[str, Any] = {
        "trace_id": record.trace_id,
        "trace_location": {
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": {"experiment_id": experiment_id},
        },
        "request_time": f"{requested_at:%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z",
        "execution_duration": f"{record.duration_ns // 10**6 / 1000:.3f}s",
        "state": "ERROR" if record.failed else "OK",
        "trace_metadata": dict(record.metadata),
        "tags": dict(record.tags),
    }
    for name in ("request_preview", "response_preview", "client_request_id"):
        if (value := getattr(record, name)) is not None:
            info[name] = value
    return info


def _joined(known: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    """Say again what a server that does not merge would forget."""
    tags = {k: v for k, v in known.get("tags", {}).items() if k not in STORES_OWN_TAGS}
    metadata = known.get("trace_metadata", {})
    return {
        **{k: v for k, v in known.items() if k not in ("request", "response")},
        **info,
        "trace_metadata": {**metadata, **info["trace_metadata"]},
        "tags": {**tags, **info["tags"]},
    }


def _outcome(response: requests.Response) -> Outcome:
    status = response.status_code
    told = _told(response)
    match status:
        case 200:
            return DELIVERED
        case 401 | 403:
            advice = (
                "Set MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN, where "
                "`claude` is started, and for what waits where you run claude-otel flush; or write "
                "~/.mlflow/credentials, which is read again; or ask for permission on the "
                "experiment."
            )
        case 404:
            advice = "Check that the tracking URI is an MLflow server of version 3 or later."
        case 501:
            advice = "A server on a file store takes no spans: start it on a database."
        case _:
            advice = ""
    where = response.request.path_url.partition("?")[0]
    error = f"the MLflow server answered {status} to {where}: {told} {advice}".strip()
    return outcome_of_status(status, error, response.headers)


def _told(response: requests.Response) -> str:
    try:
        body = response.json()
        return clean(str(body.get("message") or body.get("detail") or body))[:500]
    except (ValueError, AttributeError):
        return clean(response.text)[:200] or str(response.reason)


def _waiting(outcome: Outcome) -> Outcome:
    """Spans do not become bad because the experiment could not be looked up."""
    return unavailable(outcome.error or "", retry_after_s=outcome.retry_after_s)


def _deleted(name: str) -> Outcome:
    return unavailable(
        f"the MLflow experiment {name!r} is deleted or missing. Restore it (mlflow experiments "
        "restore). Another one for new sessions is chosen with `claude-otel setup`."
    )


def _reason(error: requests.RequestException) -> str:
    """Keep the cause, without the address' credentials that a URL may hold."""
    return type(error).__name__
