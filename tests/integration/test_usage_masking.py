"""The quick bill keeps and shows no secret, whatever name it stands in, and says what the import says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.pipeline.usage_scan import refresh
from watchkeeper.pricing.rates import load_rates
from watchkeeper.queries.usage import Filter, usage
from watchkeeper.queries.usage_sources import requests_of
from watchkeeper.settings import Settings
from watchkeeper.store.sqlite.reading import open_reader

SESSION = "0d0d0d0d-1111-4222-8333-444444444444"
KEYS = ("project", "model", "branch", "skill", "mcp", "agent")
WORD = "opal-Quartz"


def token(number: int) -> str:
    """Return a token of a well-known form, made here."""
    return "ghp_" + f"{number:02d}aB3dE5gH7jK9" * 3


def line(number: int, secret: bool) -> dict[str, Any]:
    """Return one request, with a secret in each name it has, or without any."""
    kept = [f"-{token(part) if secret else 'x'}" for part in range(8)]
    return {
        "type": "assistant",
        "sessionId": SESSION,
        "timestamp": f"2026-10-24T21:30:{number:02d}.000Z",
        "cwd": f"/srv/app{kept[0]}",
        "gitBranch": f"fix/it{kept[1]}",
        "attributionSkill": f"skill{kept[2]}",
        "attributionMcpServer": f"server{kept[3]}",
        "agentId": f"agent{kept[4]}",
        "message": {
            "id": f"msg_{number}{kept[5] if secret else ''}",
            "role": "assistant",
            "model": f"model{kept[6]}",
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 10, "output_tokens": 5, "service_tier": f"tier{kept[7]}"},
        },
    }


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home beside an agent's folder with a request whose names hold secrets, and one without."""
    path = tmp_path / "agent" / "projects" / "-srv-app" / f"{SESSION}.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(line(number, number == 1)) + "\n" for number in (1, 2)))
    home = tmp_path / "wk"
    home.mkdir(mode=0o700)
    return Settings(home, {"CLAUDE_CONFIG_DIR": str(tmp_path / "agent"), "HOME": str(tmp_path)})


def bill(settings: Settings) -> Any:
    """Return all usage by every name, after a quick scan of what is not imported."""
    rates = load_rates(settings)
    with open_reader(settings.places) as reader:
        cache = refresh(settings, reader, rates)
        try:
            return usage(requests_of(reader, rates, cache, KEYS, Filter()), KEYS, Filter())["rows"]
        finally:
            if cache is not None:
                cache.close()


def test_no_secret_in_a_name_is_kept_or_shown_and_the_import_says_the_same(settings: Settings) -> None:
    quick = bill(settings)
    stored = settings.places.usage_cache.read_bytes()
    assert [part for part in range(8) if token(part).encode() in stored] == []
    assert [part for part in range(8) if token(part) in json.dumps(quick)] == []
    assert "[REDACTED:" in json.dumps(quick)
    assert "fix/it-x" in json.dumps(quick)
    catch_up(settings)
    assert bill(settings) == quick


def test_names_of_plain_form_are_looked_through_for_the_rules_of_a_user(settings: Settings) -> None:
    (settings.places.home / "redaction.toml").write_text(
        f'[[rule]]\nname = "codename"\nkeyword = "{WORD[:5]}"\npattern = "({WORD[5:]})"\n'
    )
    path = next(Path(str(settings.environment["CLAUDE_CONFIG_DIR"])).rglob("*.jsonl"))
    path.write_text(json.dumps(line(3, False) | {"gitBranch": f"release/{WORD}"}) + "\n")
    assert "release/opal-[REDACTED:codename]" in json.dumps(bill(settings))
    assert WORD.encode() not in settings.places.usage_cache.read_bytes()
