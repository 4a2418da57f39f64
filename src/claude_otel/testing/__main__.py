"""`python -m claude_otel.testing STORY --root DIR`: plays a story with the real `claude`.

Here: arguments, and the result as one JSON line. Never here: how a story is played (story.py).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .claude_cli import ClaudeNotFoundError
from .claude_home import ClaudeHome
from .scripted_api import ScriptedApi
from .stories import STORIES
from .story import play_story


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m claude_otel.testing", description=__doc__)
    parser.add_argument("story", choices=sorted(STORIES), metavar="STORY", help=", ".join(STORIES))
    parser.add_argument(
        "--root", type=Path, required=True, help="DIR/home becomes HOME, DIR/project is worked in"
    )
    parser.add_argument("--project", type=Path, help="another folder to work in")
    parser.add_argument("--log", type=Path, help="append every API call to this file, as JSON")
    parser.add_argument(
        "--env", action="append", default=[], metavar="NAME=VALUE", help="a variable for `claude`"
    )
    options = parser.parse_args(arguments)
    story = STORIES[options.story]()
    home = ClaudeHome(options.root)
    env = dict(item.split("=", 1) for item in options.env if "=" in item)
    with ScriptedApi(story.scenario) as api:
        if options.log is not None:
            api.log_to(options.log)
        try:
            runs = play_story(
                story, api=api, home=home, project=options.project or home.project, env=env
            )
        except (ClaudeNotFoundError, TimeoutError, ValueError) as error:
            print(f"{error}", file=sys.stderr)
            return 2
    for run in runs:
        line = {
            "session_id": run.session_id,
            "transcript_path": str(run.transcript_path) if run.transcript_path else None,
            "returncode": run.returncode,
            "result": run.result,
        }
        print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
