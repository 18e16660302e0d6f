"""Whether a session's figures are what is billed, or what its tokens would cost by the price list."""

from __future__ import annotations

from watchkeeper.errors import ConfigError
from watchkeeper.pricing.ids import FIRST_PARTY, parse_model

API, SUBSCRIPTION, AUTO = "api", "subscription", "auto"
MODES = (API, SUBSCRIPTION, AUTO)


def billing_mode(setting: str) -> str:
    """Return the value of the setting ``billing.mode``.

    Raises:
        ConfigError: It is none of `MODES`.
    """
    if setting not in MODES:
        raise ConfigError(
            f"unknown billing mode {setting!r}", hint=f"One of {', '.join(MODES)}.", place="billing.mode"
        )
    return setting


def billed_as(mode: str, *, quota_seen: bool, model: str | None = None) -> str:
    """Return how a session is paid for: ``api`` or ``subscription``.

    Args:
        mode: ``api`` and ``subscription`` decide; ``auto`` goes by what is known of the session.
        quota_seen: Whether the client's status carried rate limits for the session, which it does on subscriptions
            only.
        model: The id its requests name; a Bedrock or Vertex id is never part of a subscription.
    """
    if mode != AUTO:
        return mode
    parsed = parse_model(model) if model else None
    if parsed is not None and parsed.provider != FIRST_PARTY:
        return API
    return SUBSCRIPTION if quota_seen else API


def is_api_equivalent(mode: str, *, quota_seen: bool, model: str | None = None) -> bool:
    """Return whether a session's money figures read *API-equivalent*: what a subscription's tokens would cost."""
    return billed_as(mode, quota_seen=quota_seen, model=model) == SUBSCRIPTION
