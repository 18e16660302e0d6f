"""What a rule of redaction is, and the pieces of pattern that rules share.

Each rule reads the bytes of JSON text, not decoded strings, so that a line never has to be parsed and
written anew. A value therefore ends before a quote, a backslash, white space or a control character, and
can never run past the end of its JSON string. The formats are those their issuers publish; every rule
carries text that it must hit and text that it must leave alone, and the tests run both.

The order is the priority: where two rules hit overlapping bytes, the first one names the placeholder.
"""

from __future__ import annotations

from dataclasses import dataclass

LEFT = (
    rb"(?:(?<![A-Za-z0-9])"  # not inside a longer word, unless the letter before belongs to
    rb"|(?<=\\[bfnrt])|(?<=\\u[0-9A-Fa-f]{4})"  # an escape of JSON,
    rb"|(?<=%[0-9A-Fa-f]{2})"  # an escape of a URL,
    rb"|(?<=\[[0-9]m)|(?<=\[[0-9]{2}m))"  # or a terminal's colour
)
ESCAPED = rb"(?<=\\[bfnrt])"  # the letter before belongs to an escape of JSON: a line starts here, say
TAIL = rb"[A-Za-z0-9_-]*+"  # the whole word goes: no rest of it may start a match
# A quotation mark that does not end the JSON string: behind an odd number of backslashes, or a single one.
INNER_QUOTE = rb"(?:(?:\\\\)*+\\[\"']|')"
SIGN = rb"[ \t]{0,2}(?:[:=]|\\u003[dD])[ \t]{0,2}"
# From a name to its value: as a member of a JSON object, or within a string with the value quoted or bare.
MEMBER = rb"\"[ \t]{0,2}:[ \t]{0,2}\""
QUOTED = rb"(?:" + MEMBER + rb"|" + INNER_QUOTE + rb"?" + SIGN + INNER_QUOTE + rb")"
ASSIGNED = rb"(?:" + MEMBER + rb"|" + INNER_QUOTE + rb"?" + SIGN + INNER_QUOTE + rb"?)"
NOT_A_VALUE = rb"(?!\[REDACTED:|[ $<{(*]|%[({]|\\)"
FILLER = b"R7kQ2mZx9LpT4vWn8BcY3hJd6FsG1aUe5XoNiKqMtHrVwDyPbCzEgSjAfLuI0O"
HEXADECIMAL = b"3f9a1c07e5b84d26a0c9f17b52e8d4630b7d51a29e4cf8865a13d0972be4c6f8"


@dataclass(frozen=True)
class Rule:
    """One kind of secret.

    Args:
        name: Shown in the placeholder and counted; lower case with hyphens.
        anchors: Literal texts, one of which starts every match; they are what the engine scans for.
        pattern: Regular expression, matched where an anchor starts; its only group that takes
            part is what goes. It must need only bounded time to fail, see the engine.
        positive: JSON text with one secret of this kind.
        secret: What must be gone from ``positive``.
        negative: JSON text that resembles it and must stay as it is.
        ignore_case: The anchors are lower case and stand for any case.
        gate: Regular expression that must follow the anchor before ``pattern`` is tried; for common words.
    """

    name: str
    anchors: tuple[bytes, ...]
    pattern: bytes
    positive: bytes
    secret: bytes
    negative: bytes
    ignore_case: bool = False
    gate: bytes = b""
