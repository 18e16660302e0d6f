"""One-time codes and signed-in browsers."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from watchkeeper.server.signin import BROWSER_SECONDS, CODE_SECONDS, MOST_BROWSERS, MOST_CODES, SignIns


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def signins(tmp_path: Path, clock: Clock) -> SignIns:
    return SignIns(tmp_path / "browsers.json", clock)


def signed_in(signins: SignIns) -> str:
    cookie = signins.redeem(signins.new_code()[0])
    assert cookie is not None
    return cookie


def test_a_code_gives_a_cookie_once(signins: SignIns) -> None:
    code, _ = signins.new_code()
    cookie = signins.redeem(code)
    assert cookie is not None
    assert signins.knows(cookie)
    assert signins.redeem(code) is None


def test_a_code_expires_after_five_minutes(signins: SignIns, clock: Clock) -> None:
    code, expires = signins.new_code()
    assert expires == clock.now + CODE_SECONDS == clock.now + 300
    clock.now = expires
    assert signins.redeem(code) is None


def test_a_code_works_until_just_before_it_expires(signins: SignIns, clock: Clock) -> None:
    code, expires = signins.new_code()
    clock.now = expires - 0.001
    assert signins.redeem(code) is not None


@pytest.mark.parametrize("text", ["", "x", "\udcff", "a" * 500])
def test_an_invented_code_or_cookie_is_worth_nothing(signins: SignIns, text: str) -> None:
    signed_in(signins)
    assert signins.redeem(text) is None
    assert not signins.knows(text)


def test_a_code_has_256_random_bits_and_is_never_the_same(signins: SignIns) -> None:
    codes = {signins.new_code()[0] for _ in range(20)}
    assert len(codes) == 20
    assert all(len(code) == 43 for code in codes)


def test_the_code_itself_is_no_cookie(signins: SignIns) -> None:
    code, _ = signins.new_code()
    cookie = signins.redeem(code)
    assert cookie != code
    assert not signins.knows(code)


def test_a_restart_keeps_browsers_signed_in_but_no_codes(
    tmp_path: Path, signins: SignIns, clock: Clock
) -> None:
    cookie = signed_in(signins)
    code, _ = signins.new_code()
    again = SignIns(tmp_path / "browsers.json", clock)
    assert again.knows(cookie)
    assert again.redeem(code) is None


def test_the_file_is_the_owners_alone_and_holds_no_cookie(tmp_path: Path, signins: SignIns) -> None:
    cookie = signed_in(signins)
    file = tmp_path / "browsers.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert cookie not in file.read_text()
    assert len(json.loads(file.read_text())) == 1


def test_a_browser_must_sign_in_again_after_thirty_days(signins: SignIns, clock: Clock) -> None:
    cookie = signed_in(signins)
    clock.now += BROWSER_SECONDS
    assert not signins.knows(cookie)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a":"b"}', "null"])
def test_a_damaged_file_signs_everybody_out_and_stops_nothing(
    tmp_path: Path, content: str, clock: Clock
) -> None:
    file = tmp_path / "browsers.json"
    file.write_text(content)
    file.chmod(0o600)
    signins = SignIns(file, clock)
    assert signins.knows(signed_in(signins))


def test_a_file_that_others_may_write_is_not_believed(tmp_path: Path, signins: SignIns, clock: Clock) -> None:
    cookie = signed_in(signins)
    (tmp_path / "browsers.json").chmod(0o622)
    assert not SignIns(tmp_path / "browsers.json", clock).knows(cookie)


def test_a_link_is_not_followed(tmp_path: Path, signins: SignIns, clock: Clock) -> None:
    cookie = signed_in(signins)
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "browsers.json")
    assert not SignIns(link, clock).knows(cookie)


def test_codes_and_browsers_are_bounded_and_the_oldest_go_first(signins: SignIns) -> None:
    codes = [signins.new_code()[0] for _ in range(MOST_CODES + 1)]
    assert signins.redeem(codes[0]) is None
    assert signins.redeem(codes[-1]) is not None
    cookies = [signed_in(signins) for _ in range(MOST_BROWSERS + 1)]
    assert not signins.knows(cookies[0])
    assert signins.knows(cookies[-1])
