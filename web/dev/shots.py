"""Takes pictures of the page from the development server: python dev/shots.py [name ...]."""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
OUT = Path(__file__).parent / "shots"
BASE = "http://127.0.0.1:7879"
LONG = "7c0ffee0-4d1c-4b8e-9a52-000000000000"
SHORT = f"{0x7C0FFEE0 + 3 * 7919:x}-4d1c-4b8e-9a52-000000000003"


def opened(page):
    page.wait_for_selector("[role=article]")
    for tool in ("Edit", "Bash"):
        page.locator("[role=article] .call .line", has_text=tool).first.click()
    page.wait_for_timeout(700)


def scrolled(page):
    page.wait_for_selector("[role=article]")
    page.wait_for_timeout(800)
    page.locator("[role=feed]").evaluate("e => e.scrollTop = 90000")
    page.wait_for_timeout(3500)


SHOTS = {
    "sessions": ("/", None),
    "session": (f"/sessions/{SHORT}", None),
    "opened": (f"/sessions/{SHORT}?tool=Edit,Bash", opened),
    "long": (f"/sessions/{LONG}", scrolled),
    "coverage": ("/coverage", None),
    "health": ("/parts", lambda page: (page.click("text=Verify"), page.wait_for_timeout(300))),
    "error": ("/sessions/nothing", None),
    "help": ("/", lambda page: page.keyboard.press("?")),
}
names = sys.argv[1:] or list(SHOTS)
OUT.mkdir(exist_ok=True)
with sync_playwright() as play:
    browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
    for theme in ("light", "dark"):
        for width, height in ((1280, 800), (390, 844)):
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
            page = context.new_page()
            page.on(
                "console",
                lambda m: print("console:", m.type, m.text) if m.type in ("error", "warning") else None,
            )
            page.on("pageerror", lambda e: print("page error:", e))
            for name in names:
                path, act = SHOTS.get(name, (None, None))
                if path is None:
                    continue
                page.goto(BASE + path)
                page.wait_for_timeout(1200)
                if act:
                    act(page)
                page.screenshot(path=OUT / f"{name}-{theme}-{width}.png")
            page.goto("http://127.0.0.1:7880/")
            page.wait_for_timeout(500)
            page.screenshot(path=OUT / f"empty-{theme}-{width}.png")
            context.close()
    browser.close()
