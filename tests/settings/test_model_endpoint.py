"""Where a session calls the model: as Claude Code itself puts it together."""

import json
from pathlib import Path

import pytest

from claude_otel.settings import Endpoint, model_endpoint
from claude_otel.testing import Scenario, ScriptedApi, reply

ANTHROPIC = Endpoint(provider="anthropic", address="api.anthropic.com", port=443)


def anthropic_at(address: str | None, port: int | None) -> Endpoint:
    return Endpoint(provider="anthropic", address=address, port=port)


@pytest.mark.parametrize(
    ("environ", "endpoint"),
    [
        ({}, ANTHROPIC),
        ({"ANTHROPIC_BASE_URL": ""}, ANTHROPIC),
        ({"ANTHROPIC_BASE_URL": "https://gateway/v1"}, anthropic_at("gateway", 443)),
        ({"ANTHROPIC_BASE_URL": "http://gateway"}, anthropic_at("gateway", 80)),
        ({"ANTHROPIC_BASE_URL": "http://u:p@127.0.0.1:8080"}, anthropic_at("127.0.0.1", 8080)),
        ({"ANTHROPIC_BASE_URL": "http://[::1"}, anthropic_at(None, None)),
        ({"ANTHROPIC_BASE_URL": "http://gateway:port"}, anthropic_at(None, None)),
        ({"ANTHROPIC_BASE_URL": "gateway"}, anthropic_at(None, None)),
        (
            {"CLAUDE_CODE_USE_BEDROCK": "1", "ANTHROPIC_BASE_URL": "http://gateway"},
            Endpoint(provider="aws.bedrock", address=None, port=None),
        ),
        (
            {"CLAUDE_CODE_USE_VERTEX": "true"},
            Endpoint(provider="gcp.vertex_ai", address=None, port=None),
        ),
        ({"CLAUDE_CODE_USE_BEDROCK": "0", "CLAUDE_CODE_USE_VERTEX": ""}, ANTHROPIC),
    ],
)
def test_the_environment_of_claude_says_where_the_model_is(
    tmp_path: Path, environ: dict[str, str], endpoint: Endpoint
) -> None:
    assert model_endpoint({"HOME": str(tmp_path), **environ}, managed=tmp_path) == endpoint


def test_settings_are_put_over_the_environment_as_claude_code_does(tmp_path: Path) -> None:
    def say(folder: Path, name: str, env: dict[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps({"env": env}))

    home, project, managed = (tmp_path / name for name in ("home", "project", "managed"))
    environ = {
        "HOME": str(home),
        "CLAUDE_PROJECT_DIR": str(project),
        "ANTHROPIC_BASE_URL": "http://process",
    }

    def found() -> Endpoint:
        return model_endpoint(environ, managed=managed)

    assert found() == anthropic_at("process", 80)
    say(home / ".claude", "settings.json", {"ANTHROPIC_BASE_URL": "http://user"})
    assert found() == anthropic_at("user", 80)
    say(project / ".claude", "settings.json", {"ANTHROPIC_BASE_URL": "http://shared"})
    assert found() == anthropic_at("shared", 80)
    say(project / ".claude", "settings.local.json", {"ANTHROPIC_BASE_URL": "http://local"})
    assert found() == anthropic_at("local", 80)
    say(managed, "managed-settings.json", {"CLAUDE_CODE_USE_VERTEX": "1"})
    assert found() == Endpoint(provider="gcp.vertex_ai", address=None, port=None)
    say(project / ".claude", "settings.local.json", {"CLAUDE_CODE_USE_VERTEX": "0"})
    say(managed, "managed-settings.json", {})
    assert found() == anthropic_at("shared", 80)


@pytest.mark.parametrize("where", ["user", "project", "local"])
def test_it_is_where_the_real_claude_calls(claude_cli, where: str) -> None:
    home = claude_cli.home
    path = {
        "user": home.config / "settings.json",
        "project": home.project / ".claude" / "settings.json",
        "local": home.project / ".claude" / "settings.local.json",
    }[where]
    path.parent.mkdir(exist_ok=True)
    with (
        ScriptedApi(Scenario(main=(reply("process"),))) as started_with,
        ScriptedApi(Scenario(main=(reply("settings"),))) as set_later,
    ):
        path.write_text(json.dumps({"env": {"ANTHROPIC_BASE_URL": set_later.url}}))
        claude_cli("hello", api=started_with)
        assert (len(started_with.calls), len(set_later.calls)) == (0, 1)
        environ = {
            "HOME": str(home.path),
            "CLAUDE_PROJECT_DIR": str(home.project),
            "ANTHROPIC_BASE_URL": started_with.url,
        }
        found = model_endpoint(environ, managed=home.root)
        assert f"http://{found.address}:{found.port}" == set_later.url
