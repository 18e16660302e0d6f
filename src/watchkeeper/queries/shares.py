"""Dividing whole numbers so that the parts add up to the whole."""

from __future__ import annotations

from collections.abc import Sequence


def divide(total: int, weights: Sequence[int]) -> list[int]:
    """Return whole parts of a total in proportion to weights, by the largest remainder; they add up to it exactly.

    Args:
        total: What is divided; not negative.
        weights: At least one, none negative. Where all are 0 the parts are equal as far as they can be.
    """
    whole = sum(weights)
    if not whole:
        weights, whole = [1] * len(weights), len(weights)
    parts = [total * weight // whole for weight in weights]
    left = total - sum(parts)
    if left:
        order = sorted(range(len(weights)), key=lambda place: (-(total * weights[place] % whole), place))
        for place in order[:left]:
            parts[place] += 1
    return parts
