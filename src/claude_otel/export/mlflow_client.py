"""The road to MLflow stores that are no plain server: sqlite, file, databricks.

Goes through MLflow's tracing client, which is semi-private: this is the only
file that imports `mlflow`, lazily (it takes a second and 200 MB), and it never
calls what sets up a process (`set_tracking_uri` and the like).
"""

# MLflow needs it, and is first imported when there are spans: in a short program that is as the
# interpreter ends, when this module can no longer be imported.
import concurrent.futures.thread  # noqa: F401 # pyright: ignore[reportUnusedImport]
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from claude_otel.diagnostics import ConfigurationError
from claude_otel.export.mlflow_road import STORES_OWN_TAGS, Experiment, merges_records, only_trace
from claude_otel.export.mlflow_view import (
    attributes_in_mlflow,
    resource_in_mlflow,
    trace_id_in_mlflow,
)
from claude_otel.export.outcome import DELIVERED, REFUSED_STATUSES, Outcome, refused, unavailable
from claude_otel.export.span_copy import encodable, rebuilt
from claude_otel.export.trace_record import TraceRecord
from claude_otel.masking import mask

_DATABRICKS = ("databricks", "databricks-uc", "uc")


class ClientRoad:
    """Delivers to one experiment of the store behind a tracking URI."""

    def __init__(self, tracking_uri: str, experiment: Experiment) -> None:
        self._uri = tracking_uri
        self._shown = mask("", tracking_uri)  # what is said is kept in the log and the ledger
        self._experiment = experiment
        self._experiment_id = experiment.id
        self._client: Any = None

    def log_spans(self, spans: Sequence[ReadableSpan]) -> Outcome:
        def log(client: Any, location: str) -> None:
            # On Databricks the call is for tables of Unity Catalog, and none for experiments.
            _log(client, location, spans, takes_spans=not self._uri.startswith("databricks"))

        return self._attempt(log, of_trace=only_trace(spans))

    def write_record(self, record: TraceRecord) -> Outcome:
        def write(client: Any, location: str) -> None:
            its = _experiment_of(client, record.trace_id) if record.is_shared else None
            info = _trace_info(record, its or location)
            _write(client, _with_totals(client, info) if record.only_totals else info)

        return self._attempt(write, of_trace=record.trace_id)

    def read_spans(self, trace_id: str) -> Sequence[Mapping[str, Any]] | Outcome:
        found: list[Mapping[str, Any]] = []

        def read(client: Any, location: str) -> None:
            found.extend(span.to_dict() for span in client.get_trace(trace_id).data.spans)

        outcome = self._attempt(read)
        # Where a store does not say what others logged, our own notes must do.
        return outcome if outcome.retryable else found

    def close(self) -> None:
        self._client = None

    def _attempt(self, call: Callable[[Any, str], None], *, of_trace: str | None = None) -> Outcome:
        """Call `call` with the client and the experiment's id, or that of the trace `of_trace`.

        It may be in another one, by a caller or an earlier setup, and from 3.18 on a store
        refuses what does not go there.
        """
        from mlflow.exceptions import MlflowException

        try:
            if self._client is None:
                from mlflow.tracing.client import TracingClient

                self._client = TracingClient(self._uri)
            if self._experiment_id is None:
                self._experiment_id = self._resolve()
            try:
                call(self._client, self._experiment_id)
            except MlflowException as error:
                if error.get_http_status_code() not in REFUSED_STATUSES or of_trace is None:
                    raise
                its = _experiment_of(self._client, of_trace)
                if its is None or its == self._experiment_id:
                    raise
                call(self._client, its)
        except MlflowException as error:
            return self._failure(error)
        except Exception as error:  # of the database driver, the disk, a client of some cloud
            return unavailable(
                f"the MLflow store {self._shown} failed: {type(error).__name__}: "
                f"{mask('', str(error))[:500]}{_advice(self._uri)}"
            )
        return DELIVERED

    def _failure(self, error: Any) -> Outcome:
        if (trouble := file_store_trouble(self._uri)) is not None:
            return unavailable(trouble)
        told = f"the MLflow store {self._shown} said: {mask('', str(error.message))[:500]}"
        if self._experiment_id is None or error.get_http_status_code() not in REFUSED_STATUSES:
            # A 403 comes as an internal error, like anything that is no answer of MLflow's own.
            return unavailable(f"{told}{_advice(self._uri)}")
        if not self._experiment_is_active():
            # Nothing is wrong with the spans.
            self._experiment_id = self._experiment.id
            return unavailable(
                f"{told} Restore the experiment (mlflow experiments restore). "
                "Another one for new sessions is chosen with `claude-otel setup`."
            )
        return refused(told)

    def _resolve(self) -> str:
        """Find the experiment by its name, or create it."""
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        name = self._experiment.name
        if name is None:
            return "0"
        client: Any = MlflowClient(tracking_uri=self._uri)
        if (found := client.get_experiment_by_name(name)) is None:
            try:
                return str(client.create_experiment(name, _artifacts_beside(self._uri)))
            except MlflowException:
                # Another process may have created it in between.
                if (found := client.get_experiment_by_name(name)) is None:
                    raise
        return str(found.experiment_id)

    def _experiment_is_active(self) -> bool:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        client: Any = MlflowClient(tracking_uri=self._uri)
        try:
            return client.get_experiment(self._experiment_id).lifecycle_stage == "active"
        except MlflowException:
            return False


def _experiment_of(client: Any, trace_id: str) -> str | None:
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_trace_info(trace_id).experiment_id)
    except MlflowException:  # there is none
        return None


def require(package: str, whose: str, requirement: str) -> None:
    """Raise a ConfigurationError where the package is missing that something needs."""
    if importlib.util.find_spec(package) is None:
        raise ConfigurationError(
            f"{whose} needs the {package} package, which is not installed. "
            f"Install it: pip install '{requirement}'."
        )


def file_store_trouble(tracking_uri: str) -> str | None:
    """Why MLflow takes no file store in this process; None where it does, or for another store."""
    is_path = ":" not in tracking_uri and tracking_uri not in _DATABRICKS
    if not is_path and not tracking_uri.startswith("file:"):
        return None
    from mlflow import __version__, environment_variables

    asks = getattr(environment_variables, "MLFLOW_ALLOW_FILE_STORE", None)
    try:
        if asks is None or asks.get():
            return None
    except ValueError:  # neither true nor false
        pass
    return (
        f"MLflow {__version__} takes no file store ({tracking_uri}) unless it is told to: set "
        "MLFLOW_ALLOW_FILE_STORE=true where `claude` is started (or in `env` of "
        "~/.claude/settings.json), and for what waits where you run claude-otel flush; or choose "
        "a database: claude-otel setup -u sqlite:///FILE"
    )


def _log(client: Any, location: str, spans: Sequence[ReadableSpan], *, takes_spans: bool) -> None:
    by_trace: dict[str, list[Any]] = {}
    for span in map(_as_stored, spans):
        by_trace.setdefault(span.trace_id, []).append(span)
    for trace_id, group in by_trace.items():  # MLflow before 3.13 takes one trace at a time
        try:
            if takes_spans:
                client.log_spans(location, group)
                continue
        except NotImplementedError:  # a file store
            pass
        _upload(client, location, trace_id, group)  # whole traces only, as artifacts


def _write(client: Any, info: Any) -> None:
    """Write a trace's record; again merges."""
    from mlflow import __version__
    from mlflow.exceptions import MlflowException

    is_file_store = hasattr(client.store, "_save_trace_info")  # it refuses a second record
    is_database = hasattr(client.store, "ManagedSessionMaker")
    if is_file_store or (is_database and not merges_records(__version__)):
        try:
            known = client.get_trace_info(info.trace_id)
        except MlflowException:  # there is none
            pass
        else:
            own = STORES_OWN_TAGS if is_database else ()
            tags = {name: value for name, value in known.tags.items() if name not in own}
            info.trace_metadata = {**known.trace_metadata, **info.trace_metadata}
            info.tags = {**tags, **info.tags}
            info.request_preview = info.request_preview or known.request_preview
            info.response_preview = info.response_preview or known.response_preview
            if is_file_store:  # keeps assessments elsewhere
                _, folder = client.store._get_trace_info_and_dir(info.trace_id)
                client.store._save_trace_info(info, folder, overwrite=True)
                return
            info.assessments = known.assessments
    client.start_trace(info)


def _upload(client: Any, location: str, trace_id: str, spans: Sequence[Any]) -> None:
    """Upload a trace with the spans that the store has already, and these."""
    from mlflow.entities import TraceData, TraceInfo, TraceLocation, TraceState
    from mlflow.exceptions import MlflowException

    together: dict[str, Any] = {}
    try:
        trace = client.get_trace(trace_id)
        info = trace.info
        together = {span.span_id: span for span in trace.data.spans}
    except MlflowException:
        started_at_ns = min(span.start_time_ns for span in spans)
        info = client.start_trace(
            TraceInfo(
                trace_id=trace_id,
                trace_location=TraceLocation.from_experiment_id(location),
                request_time=started_at_ns // 10**6,
                state=TraceState.IN_PROGRESS,
            )
        )
    together |= {span.span_id: span for span in spans}
    ordered = sorted(together.values(), key=lambda span: span.start_time_ns)
    client._upload_trace_data(info, TraceData(spans=ordered))


def _as_stored(span: ReadableSpan) -> Any:
    """Build MLflow's span: every attribute dumped to JSON exactly once."""
    from mlflow.entities import Span

    sent = encodable(span)
    view = attributes_in_mlflow(sent)
    context = sent.get_span_context()
    assert context is not None  # checked when the facts were read
    view["mlflow.traceRequestId"] = trace_id_in_mlflow(context.trace_id)
    return Span(
        rebuilt(
            sent,
            name=sent.name,
            attributes={
                name: json.dumps(value, ensure_ascii=False, default=str)
                for name, value in view.items()
            },
            events=sent.events,
            links=sent.links,
            status=sent.status,
            resource=resource_in_mlflow(sent),
        )
    )


def _trace_info(record: TraceRecord, location: str) -> Any:
    from mlflow.entities import TraceInfo, TraceLocation, TraceState

    return TraceInfo(
        trace_id=record.trace_id,
        trace_location=TraceLocation.from_experiment_id(location),
        request_time=record.requested_at_ns // 10**6,
        execution_duration=record.duration_ns // 10**6,
        state=TraceState.ERROR if record.failed else TraceState.OK,
        request_preview=record.request_preview,
        response_preview=record.response_preview,
        client_request_id=record.client_request_id,
        trace_metadata=dict(record.metadata),
        tags=dict(record.tags),
    )


def _with_totals(client: Any, info: Any) -> Any:
    """The record that MLflow has, with the sums of `info`. What is not said again stays."""
    from mlflow.entities import TraceInfo

    known = client.get_trace_info(info.trace_id)
    return TraceInfo(
        trace_id=known.trace_id,
        trace_location=known.trace_location,
        request_time=known.request_time,
        execution_duration=known.execution_duration,
        state=known.state,
        client_request_id=known.client_request_id,
        trace_metadata=info.trace_metadata,
    )


def _artifacts_beside(uri: str) -> str | None:
    """Put an experiment's files beside its SQLite file; MLflow's default is our own cwd."""
    if not uri.startswith("sqlite:///"):
        return None
    database = Path(uri.removeprefix("sqlite:///").partition("?")[0]).absolute()
    return (database.parent / "mlartifacts").as_uri()


def _advice(uri: str) -> str:
    if not uri.startswith("http"):
        return ""
    return (
        " See that what signs the requests finds its credentials (AWS's: ~/.aws, with the package "
        "boto3; a session of Claude Code brings none from its environment), and that the plugin "
        "that MLFLOW_TRACKING_AUTH names is installed beside claude-otel."
    )
