"""The dashboard's files: built from ``web/`` into ``server/_static`` and shipped with the package."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from watchkeeper.errors import NotFoundError

STATIC = Path(__file__).parent / "_static"
OPEN_FILES = frozenset({"/favicon.ico", "/icon.svg", "/theme.js"})
"""Files beside the page that name nothing of the user's."""
IMMUTABLE = "private, max-age=31536000, immutable"
REVALIDATE = "no-cache"
TYPES = {
    ".js": "text/javascript",
    ".map": "application/json",
    ".woff2": "font/woff2",
    ".webmanifest": "application/json",
}
"""Types that a machine's own table may lack or name otherwise."""
BUILD_HINT = "Build it with `make install`, or with `npm ci && npm run build` in web/."


class PageFile:
    """A file to send: its bytes, its media type, and how long it may be kept."""

    def __init__(self, path: Path, root: Path) -> None:
        self.content = path.read_bytes()
        kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        self.media_type = f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
        # The build puts a digest of the content into every name below assets/.
        hashed = path.is_relative_to(root / "assets")
        self.cache_control = IMMUTABLE if hashed else REVALIDATE


def find_page_file(path: str, root: Path = STATIC) -> PageFile:
    """Return the file for a URL path; a path without a file is one of the page's own, so it gets the page.

    Raises:
        NotFoundError: An asset that is not there, or a page that has not been built.
    """
    if path == "/api" or path.startswith("/api/"):
        raise NotFoundError("there is no such route", hint="See /openapi.json for what there is.", place=path)
    root = root.resolve()
    name = path.lstrip("/")
    wanted = (root / name).resolve() if "\0" not in name else root
    if wanted != root and wanted.is_relative_to(root) and wanted.is_file():
        return PageFile(wanted, root)
    if name.startswith("assets/") or f"/{name}" in OPEN_FILES:
        raise NotFoundError("there is no such file", place=path)
    index = root / "index.html"
    if not index.is_file():
        raise NotFoundError("the dashboard has not been built", hint=BUILD_HINT, place=str(root))
    return PageFile(index, root)
