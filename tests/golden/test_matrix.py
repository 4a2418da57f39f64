"""Two cells of the matrix a version, played now: the installed `claude`, and an older one.

`make matrix` plays all of it.
"""

from pathlib import Path

import pytest
from matrix import play

from claude_otel.testing.versions import installed_version

OLDER = "2.1.281"  # without api-request records


@pytest.mark.parametrize("version", [installed_version(), OLDER])
@pytest.mark.parametrize("story", ["parallel_tools", "permission_allowed"])
def test_a_story_played_with_this_version_is_exact_by_every_route(
    story: str, version: str, tmp_path: Path
):
    cell = play(story, version, tmp_path / "raw", tmp_path / "golden", answer_s=0)
    assert cell.differences == []
