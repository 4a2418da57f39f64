"""Takes the pictures in this folder: `make screenshots`.

Plays sessions with the real `claude` against a scripted API, opens the MLflow
store that they went to in headless Chromium, and writes the PNG files and
README.md beside this file. Nothing leaves the machine; no key is needed.
"""

import importlib.metadata
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from comparison import comparison
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from sessions import EXPERIMENT, MLFLOWS_OWN, play_into, play_under_mlflows_own

from claude_otel.testing.claude_cli import find_claude

FOLDER = Path(__file__).parent
TRACE = {"width": 1440, "height": 800}
CHAT = {"width": 1440, "height": 1000}
LIST = {"width": 1800, "height": 640}
_SERVER_STARTS_WITHIN_S = 180
# MLflow says hello to those who see its UI for the first time.
_SEEN_BEFORE = """
for (const [name, value] of Object.entries({
    'mlflow.assistant.fab.autoOpenedOnFirstLoad_v1': 'true',
    'mlflow.assistant.panelOpen_v1': 'false',
    'mlflow.detectIssues.guidanceShown_v1': 'true',
})) localStorage.setItem(name, value)
"""
_CHROMIUM_OPTIONS = (
    "--no-sandbox",  # Chromium refuses to run as root otherwise
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


def main() -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("There is no chromium here. Install it: docs/screenshots/install-chromium.sh")
    with tempfile.TemporaryDirectory(prefix="claude-otel-", ignore_cleanup_errors=True) as folder:
        store = play_into(Path(folder))
        compared = comparison(store, play_under_mlflows_own(Path(folder), store))
        with _mlflow_server(store) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, headless=True, args=list(_CHROMIUM_OPTIONS)
            )
            _take_all(browser, address)
            version = browser.version
            browser.close()
    _write_readme(version, compared)


def _take_all(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport=LIST)
    page.add_init_script(_SEEN_BEFORE)
    page.set_default_timeout(120_000)  # on a busy machine too

    _open_list(page, address)
    page.get_by_label("Toggle sidebar").click()
    _choose_columns(page, shown=("Cost", "User"), hidden=("Tags",))
    _save(page, "traces")

    page.get_by_label("Group traces by session").click()
    page.get_by_text("one", exact=True).wait_for()
    page.get_by_role("row").filter(has_text="one").get_by_role("button").first.click()
    page.get_by_text("two, with a tool").wait_for()
    _save(page, "sessions")
    page.get_by_role("row").filter(has_text="one").first.get_by_role("link").click()
    page.get_by_text("Session assessments").wait_for()
    page.get_by_text("two, with a tool").wait_for()
    _save(page, "session")

    page.set_viewport_size(TRACE)
    _open_list(page, address)
    page.get_by_text("The total in cart.py").click()
    page.get_by_label("Full screen").click()
    page.get_by_text("invoke_agent general-purpose").wait_for()
    _save(page, "trace")
    page.get_by_label("Show execution timeline").click()
    _widen_the_tree(page, 900)
    _save(page, "timeline")
    page.get_by_label("Hide execution timeline").click()
    _widen_the_tree(page, 360)

    page.get_by_text("execute_tool Bash").first.click()
    page.get_by_text("exception.message").wait_for()
    _save(page, "failed-tool")

    page.set_viewport_size(CHAT)
    page.get_by_text("chat claude-").first.click()
    page.get_by_text("Reasoning").click()
    _save(page, "chat")

    _open_list(page, address)
    page.get_by_text("Which quarter in sales.png").click()
    page.get_by_label("Full screen").click()
    page.get_by_text("chat claude-").last.click()
    page.get_by_text("Reasoning").click()
    _save(page, "chat-image")

    page.set_viewport_size(LIST)
    _open_list(page, address, MLFLOWS_OWN)
    _choose_columns(page, shown=("Cost", "User"), hidden=("Tags",))
    _save(page, "mlflows-own-traces")
    page.set_viewport_size(TRACE)
    page.get_by_text("The total in cart.py").click()
    page.get_by_label("Full screen").click()
    page.wait_for_timeout(2_000)
    _save(page, "mlflows-own-trace")


def _open_list(page: Page, address: str, experiment: str = EXPERIMENT) -> None:
    query = urlencode({"experiment_name": experiment})
    with urlopen(f"{address}/api/2.0/mlflow/experiments/get-by-name?{query}") as answer:
        found = json.load(answer)["experiment"]["experiment_id"]
    page.goto(f"{address}/#/experiments/{found}/traces")
    # As long as it loads, the list shows other texts.
    page.get_by_text(
        "The total in cart.py is wrong. Find out why and fix it.", exact=True
    ).wait_for()


def _choose_columns(page: Page, *, shown: tuple[str, ...], hidden: tuple[str, ...]) -> None:
    page.get_by_label("Display").click()
    page.get_by_text("Columns", exact=True).click()
    for name in (*shown, *hidden):
        page.get_by_role("menuitemcheckbox", name=name).first.click()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    for name in shown:
        page.get_by_role("columnheader", name=name).wait_for()


def _widen_the_tree(page: Page, width: int) -> None:
    """Draw the border between the spans and what one of them says."""
    tree = page.locator(".react-resizable").bounding_box()
    assert tree is not None
    page.mouse.move(tree["x"] + tree["width"], 600)
    page.mouse.down()
    page.mouse.move(width, 600, steps=5)
    page.mouse.up()


def _save(page: Page, name: str) -> None:
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(700, 2)  # away from what would show a tooltip
    page.wait_for_timeout(1_500)  # the UI moves things for a while
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    # A third of the size; this method keeps the few coloured pixels that say OK and Error.
    few = picture.quantize(method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(FOLDER / f"{name}.png", optimize=True)


@contextmanager
def _mlflow_server(store: Path) -> Iterator[str]:
    """An MLflow server on loopback that nobody inherits anything from; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri"]
    command += [f"sqlite:///{store}", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    environment = {
        "HOME": str(store.parent),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    log = store.parent / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, cwd=store.parent, env=environment, stdout=output, stderr=output
        )
    try:
        _wait_for(address, server, log)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=120)


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _SERVER_STARTS_WITHIN_S
    while True:
        try:
            urlopen(f"{address}/health", timeout=5).close()
            return
        except (URLError, TimeoutError) as error:
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(
                    f"mlflow server did not start; its log:\n{log.read_text()}"
                ) from error
            time.sleep(0.3)


def _write_readme(chromium: str, compared: str) -> None:
    said = subprocess.run([find_claude(), "--version"], env={}, capture_output=True, text=True)
    (FOLDER / "README.md").write_text(
        f"""# What MLflow shows

Taken {datetime.now(UTC).date()} by `make screenshots` with MLflow {
            importlib.metadata.version("mlflow")
        }, Chromium {chromium},
Claude Code {said.stdout.split()[0]}. The sessions are stories of `claude_otel.testing`: the real
`claude` against a scripted API, so tokens and cost are made up and times are short.

| | |
|--|--|
| `traces.png` | the list: a trace for each prompt, one that a background agent's end began |
| `sessions.png` | the same by session, one opened |
| `session.png` | that session's own page; at its top MLflow shows the tokens of the last turn |
| `trace.png` | the tree of the demo: model calls with tokens and cost, tools, a subagent |
| `timeline.png` | the same by time |
| `chat.png` | a model call: prompt, instructions, thinking, the tools it called |
| `chat-image.png` | a model call that was given an image, and thought about it |
| `failed-tool.png` | a tool that failed, with its error |

The story of `trace.png` once more, through the Agent SDK and traced by MLflow's own
`mlflow.anthropic.autolog()`; what MLflow says of both:

{compared}

| | |
|--|--|
| `mlflows-own-traces.png` | the list, with the same columns |
| `mlflows-own-trace.png` | the tree |
""",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
