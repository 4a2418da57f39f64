"""`make mlflow-matrix`: the same sessions through every MLflow, store and road; writes matrix.md.

Each row is one MLflow and one place: the real `claude` is traced into it as `setup` leaves it
(the worker runs under that row's MLflow), and that MLflow reads back what it has. A row holds when
every call and trace states the tokens of the scripted API's log, and when all else that it says is
what the first row says. MLflow versions are installed into .mlflow-versions, and what each row said
is kept there, so that one may be played again alone: --only "3.6.0 | SQLite file" --story thinking.
"""

import argparse
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path += [str(HERE.parent), str(HERE.parent / "end_to_end")]

from installation import EXPERIMENT, Installation  # noqa: E402
from seed_stories import SEED_STORIES, calls_told, sum_of, tokens_sent  # noqa: E402
from stores import USER, MlflowServer, PostgresCluster  # noqa: E402

from claude_otel.testing import find_claude  # noqa: E402

PLAYED = ROOT / ".mlflow-versions" / "played"
NEWEST = importlib.metadata.version("mlflow")
OLDER = ("3.6.0", "3.12.0")
# What older MLflows cannot keep, as their rows' lines say it.
LINKS = re.compile(r'"links": \d+, ')
EXPORTER_TESTS = tuple(
    f"test_mlflow_{question}.py"
    for question in ("exporter", "over_time", "any_application", "stores")
)
# What an MLflow cannot do, by the tests of the exporter that say it of newer ones.
CANNOT: Mapping[str, Mapping[str, str]] = {
    "3.6.0": {
        "test_a_trace_is_in_progress_until_its_turn_ends": "sums no cached tokens while a turn "
        "runs (they are there when it ends)",
        "test_a_batch_may_hold_several_traces_in_any_order": "the same",
        "test_links_are_kept": "keeps no links between spans",
        "test_a_file_store_that_mlflow_does_not_allow": "allows file stores without being asked",
        "test_what_is_empty_stays_empty": "gives an empty list or object back as null",
    },
    "3.12.0": {
        "test_links_are_kept": "keeps no links between spans",
        "test_a_file_store_that_mlflow_does_not_allow": "allows file stores without being asked",
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`place`: sqlite, file, or what a server stands on; `users`: it asks who is there."""

    version: str
    place: str
    users: bool = False

    @property
    def title(self) -> str:
        return f"{self.version} | {self.place}{', with users' if self.users else ''}"


ROWS = (
    Row(version=NEWEST, place="SQLite file"),
    *(Row(version=v, place=p) for v in OLDER for p in ("server on SQLite", "SQLite file")),
    Row(version=NEWEST, place="server on PostgreSQL", users=True),
    Row(version=NEWEST, place="server on SQLite"),
    Row(version=NEWEST, place="file store"),
    Row(version=NEWEST, place="server on PostgreSQL"),
    Row(version=NEWEST, place="server on SQLite", users=True),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="what has this in its title; the rest stays")
    parser.add_argument("--story", choices=SEED_STORIES, help="of each row this; the rest stays")
    options = parser.parse_args()
    PLAYED.mkdir(parents=True, exist_ok=True)
    for row in ROWS:
        if options.only in row.title:
            print(row.title, flush=True)
            stories = [options.story] if options.story else [*SEED_STORIES]
            _keep(row.title, (_kept(row.title) or {}) | _play(row, python_of(row.version), stories))
    for version in OLDER:
        if options.only in (title := _tests_title(version)) and not options.story:
            print(title, flush=True)
            _keep(title, _test_exporter(version, python_of(version)))
    page, all_equal = _page()
    (HERE / "matrix.md").write_text(page, encoding="utf-8")
    sys.exit(not all_equal)


def _tests_title(version: str) -> str:
    return f"{version} | the exporter's tests"


def _kept_in(title: str) -> Path:
    return PLAYED / f"{re.sub(r'[^0-9A-Za-z.]+', '-', title)}.json"


def _keep(title: str, said: dict[str, Any]) -> None:
    _kept_in(title).write_text(json.dumps(said), encoding="utf-8")


def _kept(title: str) -> dict[str, Any] | None:
    file = _kept_in(title)
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def python_of(version: str) -> Path:
    """The interpreter of an environment with that MLflow and this package; made once."""
    if version == NEWEST:
        return Path(sys.executable)
    folder = ROOT / ".mlflow-versions" / version
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        # MLflow before 3.17 asks for SQLAlchemy below 3 and does not start with 2.1.
        wanted = [f"mlflow=={version}", "sqlalchemy<2.1", "-e", f"{ROOT}[grpc]"]
        wanted += ["pytest", "pytest-timeout", "hypothesis"]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
        done.touch()
    return python


def _play(row: Row, python: Path, stories: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Play stories into the row's place; of each what was counted, and what is to be compared.

    `wrong` are figures that are not the API's, `told` the lines that other rows must say too.
    """
    played: dict[str, dict[str, Any]] = {}
    with _installation(row, python) as installation:
        for name in stories:
            began = time.monotonic()
            runs, calls = installation.run(SEED_STORIES[name]())
            traces = _read(python, installation, [str(run.session_id) for run in runs])
            sent = tokens_sent(calls)
            wrong: list[str] = []
            if calls_told(traces) != sent:
                wrong.append(f"the calls say {calls_told(traces)}, the API {sent}")
            sums = sum_of(trace["token_usage"] for trace in traces)
            if sums != sum_of(sent.values()):
                wrong.append(f"the traces say {sums}, the API {sum_of(sent.values())}")
            print(f"  {name}: {time.monotonic() - began:.0f} s", *wrong, sep="\n  ", flush=True)
            played[name] = {
                "calls": len(sent),
                "spans": sum(len(trace["spans"]) for trace in traces),
                "wrong": wrong,
                "told": _comparable(traces, installation),
                "played": _today(),
            }
    return played


def _test_exporter(version: str, python: Path) -> dict[str, str]:
    """Run the exporter's own tests under that MLflow, both roads; `told` is pytest's last line."""
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore"]
    command += [str(HERE.parent / "export" / name) for name in EXPORTER_TESTS]
    if cannot := CANNOT.get(version):
        command += ["-k", " and ".join(f"not {name}" for name in cannot)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    last = (done.stdout.splitlines() or ["failed to start"])[-1]
    print(f"{version}: {last}", flush=True)
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-3000:], flush=True)
    return {"told": last.rpartition(" in ")[0] or last, "played": _today()}


def _today() -> str:
    return str(datetime.now(UTC).date())


@contextmanager
def _installation(row: Row, python: Path) -> Iterator[Installation]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="claude-otel-")))
        variables: dict[str, str] = {}
        match row.place:
            case "SQLite file":
                uri = f"sqlite:///{folder}/mlflow.db"
            case "file store":
                uri = (folder / "mlruns").as_uri()
                variables["MLFLOW_ALLOW_FILE_STORE"] = "true"
            case "server on SQLite":
                uri = _serve(stack, row, folder, python, f"sqlite:///{folder}/server.db")
            case _:
                postgres = stack.enter_context(PostgresCluster())
                uri = _serve(stack, row, folder, python, postgres.uri)
        if row.users:
            name, password = USER
            variables |= {"MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": password}
        yield stack.enter_context(
            Installation(folder, tracking_uri=uri, variables=variables, python=python)
        )


def _serve(stack: ExitStack, row: Row, folder: Path, python: Path, store: str) -> str:
    server = MlflowServer(folder, store, python=python, authentication=row.users)
    return stack.enter_context(server).uri


def _read(python: Path, installation: Installation, sessions: list[str]) -> list[dict[str, Any]]:
    command = [str(python), str(HERE / "stored_facts.py")]
    command += [installation.tracking_uri, EXPERIMENT, *sessions]
    own = {k: v for k, v in installation.environment.items() if k.startswith("MLFLOW_")}
    done = subprocess.run(
        command,
        env={"PATH": os.defpath, "HOME": str(installation.home.path), **own} | _QUIET,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


_QUIET: Mapping[str, str] = {"MLFLOW_MODEL_CATALOG_URI": "", "MLFLOW_DISABLE_TELEMETRY": "true"}
# What is another one in each session: ids, times, the folder of the row.
_OF_THE_SESSION = re.compile(
    r"tr-[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?:msg|toolu|req)_\w+"
    r"|\ba[0-9a-f]{16}\b|(?i:duration\w*)\W+[\d.]+|<usage>.*?</usage>"
)


def _comparable(traces: list[dict[str, Any]], installation: Installation) -> list[str]:
    lines: list[str] = []
    folder = str(installation.home.root.parent)
    for number, trace in enumerate(traces):
        spans = sorted(json.dumps(span, sort_keys=True) for span in trace.pop("spans"))
        own = [f"{key} = {json.dumps(trace[key], sort_keys=True)}" for key in sorted(trace)]
        lines += [f"trace {number}: {line}" for line in (*own, *spans)]
    as_claude_writes_it = re.sub(r"[^A-Za-z0-9]", "-", folder)
    stable = (
        line.replace(folder, "FOLDER").replace(as_claude_writes_it, "FOLDER") for line in lines
    )
    return sorted(_OF_THE_SESSION.sub("ID", line) for line in stable if "_ms = " not in line)


def _differences(
    row: Mapping[str, Any], first: Mapping[str, Any], *, without: re.Pattern[str] | None
) -> list[str]:
    """What the row says otherwise than the first, around the place where each line differs."""
    found: list[str] = []
    for name in SEED_STORIES:
        told = (kept[name]["told"] for kept in (row, first))
        if without is not None:
            told = ([without.sub("", line) for line in lines] for lines in told)
        ours, theirs = map(Counter, told)
        pairs = zip_longest(
            sorted((theirs - ours).elements()), sorted((ours - theirs).elements()), fillvalue=""
        )
        for was, now in pairs:
            same = next((n for n, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), 0)
            here = slice(max(0, same - 80), same + 80)
            found.append(f"  {name}\n- {was[here]}\n+ {now[here]}")
    return found


def _page() -> tuple[str, bool]:
    """The page, and whether every row was played, with the API's figures and the same facts."""
    claude = subprocess.run([find_claude(), "--version"], env={}, capture_output=True, text=True)
    kept = {row: _kept(row.title) or {} for row in ROWS}
    first = kept[ROWS[0]]
    table = differences = ""
    all_equal = True
    for row, stories in kept.items():
        if not stories.keys() == first.keys() == SEED_STORIES.keys():
            table += f"| {row.title} | | | not run | | |\n"
            all_equal = False
            continue
        wrong = [line for story in stories.values() for line in story["wrong"]]
        has_links = "test_links_are_kept" not in CANNOT.get(row.version, ())
        other = _differences(stories, first, without=None if has_links else LINKS)
        same = "the same" if has_links else "the same without links"
        all_equal &= not wrong and not other
        calls, spans = (sum(s[name] for s in stories.values()) for name in ("calls", "spans"))
        table += f"| {row.title} | {calls} | {spans} | {'WRONG' if wrong else 'equal'} "
        table += f"| {f'{len(other)} lines differ' if other else same} "
        table += f"| {min(story['played'] for story in stories.values())} |\n"
        if other:
            shown = "\n".join(other[:20])
            differences += f"\n## {row.title.replace(' |', ',')}\n\n```diff\n{shown}\n```\n"
    tested = {version: _kept(_tests_title(version)) for version in OLDER}
    exporter = "\n".join(
        f"| {version} | {said['told']} | {said['played']} |"
        if said
        else f"| {version} | not run | |"
        for version, said in tested.items()
    )
    all_equal &= all(said and "failed" not in said["told"] for said in tested.values())
    cannot = "\n".join(
        f"- MLflow {version} {what}"
        for version, by_test in CANNOT.items()
        for what in by_test.values()
        if what != "the same"
    )
    page = f"""# MLflow: versions, stores, users

Written {_today()} by `make mlflow-matrix`, with Claude Code {claude.stdout.split()[0]}, {
        len(SEED_STORIES)
    } sessions a row:
{", ".join(SEED_STORIES)}.

*Tokens*: of each call and of the traces together, against the log of the API that answered them.
*All else*: names, states, previews, costs, metadata, and of each span its type, place, status,
inputs, outputs, model, events and links, against the first row.

| MLflow | place | calls | spans | tokens | all else | played |
|---|---|---|---|---|---|---|
{table}
The exporter's own tests (`tests/export/{"`, `tests/export/".join(EXPORTER_TESTS)}`), both roads,
which `make test` runs under the newest:

| MLflow | | played |
|---|---|---|
{exporter}

What older ones cannot do:

{cannot}
{differences}"""
    return page, all_equal


if __name__ == "__main__":
    main()
