"""Ids of models in all the spellings that clients use."""

from __future__ import annotations

import pytest

from watchkeeper.pricing.ids import parse_model

SPELLINGS = {
    "claude-opus-4-6": [
        "claude-opus-4-6",
        "claude-opus-4-6[1m]",
        "claude-opus-4.6",
        "anthropic/claude-opus-4.6:beta",
    ],
    "claude-haiku-4-5": [
        "claude-haiku-4-5-20251001",
        "claude-haiku-4-5-latest",
        "claude-4-5-haiku",
        "us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-haiku-4-5-20251001-v1:0",
        "bedrock/eu.anthropic.claude-haiku-4-5-20251001-v1:0",
        "claude-haiku-4-5@20251001",
        "vertex_ai/claude-haiku-4-5@20251001",
        "projects/p/locations/us-east5/publishers/anthropic/models/claude-haiku-4-5@20251001",
        " Claude-Haiku-4-5 ",
    ],
    "claude-haiku-3-5": ["claude-3-5-haiku-latest", "claude-3-5-haiku-20241022", "claude-3.5-haiku"],
    "claude-opus-4": ["claude-opus-4", "claude-opus-4-0", "claude-opus-4-20250514", "claude-4-opus-20250514"],
    "claude-sonnet-3-7": ["claude-3-7-sonnet-20250219", "claude-sonnet-3.7", "claude-3-7-sonnet-latest"],
    "claude-opus-5": [
        "claude-opus-5",
        "claude-opus-5-2026-07-24",
        "claude-opus-5-latest",
        "claude-opus-5@default",
    ],
    "claude-2": ["claude-2.1", "anthropic.claude-v2:1"],
}


@pytest.mark.parametrize(
    ("text", "name"),
    [(text, name) for name, texts in SPELLINGS.items() for text in texts],
)
def test_one_model_many_spellings(text: str, name: str) -> None:
    """Suffixes, dates, aliases, clouds and routers all lead to one name."""
    parsed = parse_model(text)
    assert parsed is not None
    assert parsed.name == name


@pytest.mark.parametrize(
    ("text", "provider", "regional"),
    [
        ("claude-opus-5", "anthropic", None),
        ("us.anthropic.claude-opus-5", "bedrock", True),
        ("apac.anthropic.claude-opus-5", "bedrock", True),
        ("us-gov.anthropic.claude-opus-5", "bedrock", True),
        ("global.anthropic.claude-opus-5", "bedrock", False),
        ("anthropic.claude-opus-5", "bedrock", True),
        ("arn:aws:bedrock:eu-west-1:1:inference-profile/global.anthropic.claude-opus-5", "bedrock", False),
        ("claude-opus-5@20260724", "vertex", None),
        ("projects/p/locations/global/publishers/anthropic/models/claude-opus-5", "vertex", False),
        ("projects/p/locations/europe-west1/publishers/anthropic/models/claude-opus-5", "vertex", True),
        ("openrouter/anthropic/claude-opus-5", "anthropic", None),
    ],
)
def test_the_cloud_and_its_region(text: str, provider: str, regional: bool | None) -> None:
    """The id says who serves it and, on a cloud, whether from one region."""
    parsed = parse_model(text)
    assert parsed is not None
    assert (parsed.provider, parsed.regional) == (provider, regional)


def test_fast_and_batch_in_the_id() -> None:
    """Routers spell both into the id."""
    fast = parse_model("anthropic/claude-opus-4.8-fast")
    batch = parse_model("anthropic/claude-opus-4.8:batch")
    assert fast is not None
    assert batch is not None
    assert (fast.fast, fast.batch, batch.fast, batch.batch) == (True, False, False, True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "claude",
        "claude-opus",
        "opus",
        "sonnet[1m]",
        "<synthetic>",
        "gpt-5",
        "notclaude-opus-5",
        "claude-opus-5-preview",
        "claude-opus-5-2026-13",
        "claude-opus-5@soon",
        "arn:aws:bedrock:us-east-1:1:application-inference-profile/abcdef",
        "claude-" + "9" * 4000,
        "claude-opus-\u0665",
    ],
)
def test_what_is_no_versioned_id(text: str) -> None:
    """Aliases and other makers' models are not guessed at."""
    assert parse_model(text) is None
