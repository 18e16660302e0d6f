"""The one page that an unknown browser sees."""

from __future__ import annotations

import base64
import hashlib
from html import escape

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:20vh auto;padding:0 1.5rem;"
    "color-scheme:light dark}code{font-size:1.05em}"
)
_STYLE_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
PAGE_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
).encode()
"""Content security policy of the page: this style and nothing else."""


def signin_page(again: str | None = None, *, used: bool = False) -> bytes:
    """Return the page.

    Args:
        again: A path that the page asks for at once, as a page of ours; see `access`.
        used: Say that the address had been used or had expired.
    """
    refresh = f'<meta http-equiv="refresh" content="0;url={escape(again)}">' if again else ""
    lead = "That address has been used or has expired." if used else "This browser is not signed in."
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width">{refresh}'
        f"<title>Watchkeeper: sign in</title><style>{STYLE}</style></head><body><h1>Watchkeeper</h1>"
        f"<p>{lead} Run</p><p><code>wk url</code></p>"
        "<p>in a terminal on this machine and open the address it prints; it works once.</p>"
        "</body></html>"
    ).encode()
