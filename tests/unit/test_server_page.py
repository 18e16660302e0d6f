"""The dashboard's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchkeeper.errors import NotFoundError
from watchkeeper.server.page import find_page_file


@pytest.fixture
def static(tmp_path: Path) -> Path:
    root = tmp_path / "_static"
    (root / "assets").mkdir(parents=True)
    (root / "index.html").write_text("<p>page</p>")
    (root / "theme.js").write_text("0")
    (root / "assets" / "index-abc123.js").write_text("1")
    (root / "assets" / "font-abc123.woff2").write_bytes(b"2")
    (tmp_path / "secret").write_text("no")
    (root / "link").symlink_to(tmp_path / "secret")
    return root


@pytest.mark.parametrize(
    "path", ["/", "/sessions/abc", "/coverage", "/../secret", "/link", "/%2e%2e/secret", "/a\0b"]
)
def test_a_path_without_a_file_of_the_page_gets_the_page(static: Path, path: str) -> None:
    found = find_page_file(path, static)
    assert found.content == b"<p>page</p>"
    assert found.media_type == "text/html; charset=utf-8"
    assert found.cache_control == "no-cache"


def test_a_hashed_asset_may_be_kept_for_good(static: Path) -> None:
    found = find_page_file("/assets/index-abc123.js", static)
    assert (found.content, found.media_type) == (b"1", "text/javascript; charset=utf-8")
    assert "immutable" in found.cache_control


def test_a_file_without_a_hash_in_its_name_is_asked_for_again(static: Path) -> None:
    found = find_page_file("/theme.js", static)
    assert (found.content, found.cache_control) == (b"0", "no-cache")


def test_fonts_have_their_type(static: Path) -> None:
    assert find_page_file("/assets/font-abc123.woff2", static).media_type == "font/woff2"


@pytest.mark.parametrize(
    "path", ["/assets/gone-1.js", "/favicon.ico", "/api", "/api/nope", "/assets/../../secret"]
)
def test_what_is_no_page_is_not_found(static: Path, path: str) -> None:
    with pytest.raises(NotFoundError):
        find_page_file(path, static)


def test_a_page_that_was_not_built_says_how_to_build_it(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"npm run build") as caught:
        find_page_file("/", tmp_path / "_static")
    assert caught.value.what == "the dashboard has not been built"
