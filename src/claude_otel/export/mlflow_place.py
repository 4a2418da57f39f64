"""Which MLflow, which experiment and which run a trace belongs to, and the road there.

What is not given is asked for when a trace begins: `mlflow.set_tracking_uri()` and
`mlflow.set_experiment()`, which write the variables that are read here, count for the traces
after them, and so does `mlflow.start_run()`, as for MLflow's own tracing.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from claude_otel import settings
from claude_otel.diagnostics import ConfigurationError, telemetry_must_not_break_the_host
from claude_otel.export.mlflow_parent import active_run_here, tracking_uri_here
from claude_otel.export.mlflow_road import Experiment, Road

_TRACES_REMEMBERED: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    tracking_uri: str
    experiment: Experiment
    run_id: str | None = None


class Places:
    """The road of each trace, by what counted when it began; of one that is not known, by now.

    Raises `ConfigurationError` where the store needs the missing mlflow package.
    """

    def __init__(self, tracking_uri: str | None, experiment: Experiment | None) -> None:
        self._tracking_uri = tracking_uri
        self._experiment = experiment
        self._roads: dict[tuple[str, Experiment], Road] = {}
        self._of_traces: OrderedDict[int, _Place] = OrderedDict()
        self._lock = threading.Lock()
        self._road(self._here())

    @property
    def tracking_uri(self) -> str:
        """Of a trace that begins now."""
        return self._here().tracking_uri

    def began(self, trace_id: int) -> None:
        """From here on a trace stays where it is, whatever is chosen later; never raises."""
        with telemetry_must_not_break_the_host(
            "asking where in MLflow a trace goes", raise_ours=settings.raises_own_failures()
        ):
            self._of(trace_id)

    def road_of(self, trace_id: int) -> Road:
        """Raises `ConfigurationError`, as at the beginning."""
        return self._road(self._of(trace_id))

    def run_of(self, trace_id: int) -> str | None:
        """The id of the MLflow run that was active in the program as the trace began."""
        return self._of(trace_id).run_id

    def close(self) -> None:
        for road in self._roads.values():
            road.close()

    def _of(self, trace_id: int) -> _Place:
        with self._lock:
            if trace_id not in self._of_traces:
                self._of_traces[trace_id] = self._here()
            while len(self._of_traces) > _TRACES_REMEMBERED:
                self._of_traces.popitem(last=False)
            return self._of_traces[trace_id]

    def _here(self) -> _Place:
        own = settings.own_environment()
        uri = self._tracking_uri or own.get("MLFLOW_TRACKING_URI") or tracking_uri_here()
        run = active_run_here()
        named = Experiment(
            id=(run and run.experiment_id) or own.get("MLFLOW_EXPERIMENT_ID") or None,
            name=own.get("MLFLOW_EXPERIMENT_NAME") or None,
        )
        return _Place(
            tracking_uri=uri or embedded_store(),
            experiment=self._experiment or named,
            run_id=run and run.run_id,
        )

    def _road(self, place: _Place) -> Road:
        key = (place.tracking_uri, place.experiment)
        if key not in self._roads:
            self._roads[key] = _road(*key, settings.own_environment())
        return self._roads[key]


def embedded_store() -> str:
    """Give the tracking URI of the SQLite store in the user's data folder."""
    return f"sqlite:///{settings.data_folder().mlflow_store}"


def _road(uri: str, experiment: Experiment, environ: Mapping[str, str]) -> Road:
    # Who signs for these is MLflow's own, or a plugin of it.
    is_for_aws = environ.get("MLFLOW_TRACKING_AWS_SIGV4", "").lower() in ("true", "1")
    is_signed = is_for_aws or bool(environ.get("MLFLOW_TRACKING_AUTH"))
    is_server = uri.startswith(("http://", "https://"))
    if is_server and not is_signed:
        from claude_otel.export.mlflow_http import HttpRoad

        return HttpRoad(uri, experiment, environ=environ)
    from claude_otel.export.mlflow_client import ClientRoad, require

    require("mlflow", "This MLflow store", "claude-otel[mlflow]")
    if is_server and is_for_aws:
        require("requests_auth_aws_sigv4", "MLFLOW_TRACKING_AWS_SIGV4", "requests-auth-aws-sigv4")
    settings.keep_mlflow_quiet()
    if uri.startswith("sqlite:///"):
        _make_room(Path(uri.removeprefix("sqlite:///").partition("?")[0]))
    return ClientRoad(uri, experiment)


def _make_room(database: Path) -> None:
    """Make the folder of a SQLite store; the user's own store is for nobody else to read."""
    try:
        database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if database == settings.data_folder().mlflow_store:
            database.touch(mode=0o600)
    except OSError as error:
        raise ConfigurationError(
            f"The MLflow store {database} cannot be made: {error}. "
            "Choose another tracking URI with `claude-otel setup -u`."
        ) from error
