"""The wrappers and the hooks see the same session: it is traced once."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from claude_agent_sdk import ClaudeSDKClient
from installation import Installation
from traced_app import TracedApp, options_for, roots

from claude_otel.testing import ScriptedApi, reply
from claude_otel.testing.scenario import Pause, Scenario
from claude_otel.testing.story import bash

SOURCES = ["user", "project", "local"]


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    with Installation(tmp_path) as installation:
        monkeypatch.setenv("CLAUDE_OTEL_STATE_DIR", str(installation.state.path))
        yield installation


def test_a_session_that_its_program_tells_is_left_to_it_and_its_files_are_taken_away(
    installation: Installation, app: TracedApp
) -> None:
    scenario = Scenario(main=(reply(bash("echo one")), reply("Done.")))

    async def run(api: Any) -> None:
        options = options_for(
            api, installation.home, setting_sources=SOURCES, env=installation.environment
        )
        async with ClaudeSDKClient(options) as client:
            await client.query("Go.")
            async for _ in client.receive_response():
                pass

    with ScriptedApi(scenario) as api:
        asyncio.run(run(api))
    told = app.spans()
    assert [t.attributes["claude.turn.outcome"] for t in roots(told)] == ["completed"]
    installation.wait_until_delivered()
    assert installation.receiver.spans == []
    assert not list(installation.state.path.glob("owned/*"))


PROGRAM = """
import asyncio, json, sys
sys.path[:0] = {folders!r}
from claude_agent_sdk import ClaudeSDKClient
from traced_app import TracedApp, options_for
from claude_otel.capture.ownership import owner_of
from claude_otel.testing import ClaudeHome
from pathlib import Path

class Api:  # the scripted API of the test
    pass

async def main():
    app = TracedApp()
    app.instrument()
    home = ClaudeHome(Path({root!r}))
    options = options_for({url!r}, home, setting_sources={sources!r}, env={env!r})
    async with ClaudeSDKClient(options) as client:
        for prompt in ("one", "two"):
            await client.query(prompt)
            async for _ in client.receive_response():
                pass
            while not any(o and o.told for o in map(owner_of, Path({owned!r}).glob("*"))):
                await asyncio.sleep(0.05)

asyncio.run(main())
"""


def test_the_worker_tells_what_a_dead_program_had_not_told(
    installation: Installation, tmp_path: Path
) -> None:
    scenario = Scenario(main=(reply("First."), reply("I begin", Pause(20), "and go on.")))
    with ScriptedApi(scenario) as api:
        folders = [str(Path(__file__).parent)]
        program = PROGRAM.format(
            folders=folders,
            root=str(installation.home.root),
            url=api.url,
            owned=str(installation.state.path / "owned"),
            sources=SOURCES,
            env=installation.environment,
        )
        environment = {
            **installation.process_environment(),
            "PATH": os.environ["PATH"],
            "CLAUDE_OTEL_RAISE": "1",
        }
        process = subprocess.Popen([sys.executable, "-c", program], env=environment)
        api.wait_for_pauses(1)
        (transcript,) = installation.home.transcripts()
        while transcript.read_text().count('"type":"api-request"') < 2:  # the turn has begun
            time.sleep(0.05)
        children = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGKILL)
        process.wait()
        for child in children:  # else `claude` would wait for its API for minutes
            child.kill()
        calls = list(api.calls)
    installation.wait_until_delivered()
    spans = installation.receiver.spans
    told = [s for s in spans if not s.parent_id]
    assert [s.attributes["claude.turn.outcome"] for s in told] == ["abandoned"]
    ids = [s.attributes.get("gen_ai.response.id") for s in spans if s.operation == "chat"]
    assert ids
    assert calls[0].message_id not in ids
    assert not list(installation.state.path.glob("owned/*"))
