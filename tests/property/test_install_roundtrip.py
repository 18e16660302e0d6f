"""Laws of the installer: nothing of the user's is lost, moved or rewritten, and all of ours goes again."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from watchkeeper.sources.claude_code.hook_events import HOOK_EVENTS
from watchkeeper.sources.claude_code.installer.applying import apply
from watchkeeper.sources.claude_code.installer.planning import Plan, plan_install, plan_uninstall
from watchkeeper.sources.claude_code.installer.scopes import Locations

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), NAMES
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)
HANDLERS = st.fixed_dictionaries(
    {
        "type": st.just("command"),
        "command": st.sampled_from(["true", "/usr/bin/lint --fix", "it's", "ünïcode 日本"]),
    },
    optional={"timeout": st.integers(1, 60), "args": st.lists(NAMES, max_size=2)},
)
GROUPS = st.fixed_dictionaries(
    {"hooks": st.lists(HANDLERS, max_size=2)},
    optional={"matcher": st.sampled_from(["*", "Bash", "Edit|Write"])},
)
EVENT_NAMES = st.sampled_from([event.name for event in HOOK_EVENTS] + ["SomethingNew"])
HOOKS = st.dictionaries(EVENT_NAMES, st.lists(GROUPS, max_size=3), max_size=4)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Settings as users have them: anything at all, and perhaps hooks and a status line of their own."""
    document = draw(st.dictionaries(NAMES, VALUES, max_size=4))
    for name in ("hooks", "statusLine"):
        document.pop(name, None)
    if draw(st.booleans()):
        document["hooks"] = draw(HOOKS)
    if draw(st.booleans()):
        document["statusLine"] = {
            "type": "command",
            "command": draw(st.sampled_from(["~/line.sh", "echo 'a b' \"c\""])),
        }
    return dict(draw(st.permutations(list(document.items()))))


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A settings document in any layout: indentation, newlines, escapes, mark, end of file."""
    indent = draw(st.sampled_from([None, 0, 1, 2, 4, "\t", "compact"]))
    separators = (",", ":") if indent == "compact" else None
    text = json.dumps(
        draw(documents()),
        indent=None if indent == "compact" else indent,
        separators=separators,
        ensure_ascii=draw(st.booleans()),
    )
    text = draw(st.sampled_from(["", " ", "\n"])) + text + draw(st.sampled_from(["", "\n", "\n\n", "  "]))
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + text.encode()


class Machine:
    """One user's folders, and a stand-in program to copy."""

    def __init__(self, root: Path) -> None:
        self.home, self.places = root / "home of ours", Locations(root / "claude", None, root / "managed")
        self.file = root / "claude" / "settings.json"
        self.file.parent.mkdir()
        self.program = root / "program"
        self.program.write_bytes(b"#!/bin/sh\n")

    def install(self, **flags: bool) -> Plan:
        plan = plan_install("user", self.home, self.places, **flags)
        apply(plan, self.program)
        return plan

    def uninstall(self) -> Plan:
        plan = plan_uninstall("user", self.home, self.places)
        apply(plan, None)
        return plan


@contextmanager
def machine(content: bytes | None) -> Iterator[Machine]:
    root = Path(tempfile.mkdtemp())
    try:
        made = Machine(root)
        if content is not None:
            made.file.write_bytes(content)
        yield made
    finally:
        shutil.rmtree(root)


def load(data: bytes) -> Any:
    return json.loads(data.decode("utf-8-sig"))


FLAGS = st.fixed_dictionaries({"with_statusline": st.booleans(), "message_display": st.booleans()})
MODEST = settings(max_examples=60, deadline=None)


@MODEST
@given(files(), FLAGS)
def test_uninstalling_gives_back_the_same_bytes(content: bytes, flags: dict[str, bool]) -> None:
    """Install and uninstall, with nothing else changed, is no change at all, and nothing of ours stays."""
    with machine(content) as here:
        assert here.install(**flags).changed
        here.uninstall()
        assert content == here.file.read_bytes()
        assert not (here.home / "bin").exists()


@MODEST
@given(files(), FLAGS)
def test_installing_twice_is_installing_once(content: bytes, flags: dict[str, bool]) -> None:
    """The second install changes no byte, and going back still leads to the beginning."""
    with machine(content) as here:
        here.install(**flags)
        once = here.file.read_bytes()
        assert not here.install(**flags).changed
        assert once == here.file.read_bytes()
        here.uninstall()
        assert content == here.file.read_bytes()


@MODEST
@given(files())
def test_the_entries_of_others_keep_their_order_and_content(content: bytes) -> None:
    """With our entries filtered out, the installed document is the user's, member for member."""
    with machine(content) as here:
        here.install()
        before, after = load(content), load(here.file.read_bytes())
        hooks = after.get("hooks", {})
        for event, groups in list(hooks.items()):
            hooks[event] = [group for group in groups if "watchkeeper-hook" not in json.dumps(group)]
            if not hooks[event] and event not in before.get("hooks", {}):
                del hooks[event]
        if "hooks" not in before:
            del after["hooks"]
        assert json.dumps(before) == json.dumps(after)


@MODEST
@given(files(), FLAGS, st.booleans())
def test_an_edit_between_install_and_uninstall_is_kept(
    content: bytes, flags: dict[str, bool], first: bool
) -> None:
    """What the user adds in between survives; ours goes, and the rest reads as before."""
    with machine(content) as here:
        here.install(**flags)
        text = here.file.read_bytes().decode()
        if first:
            text = text.replace("{", '{"added by hand": [1.50, "\\u00e9"],', 1)
        else:
            end = text.rindex("}")
            text = text[:end].rstrip() + ', "added by hand": [1.50, "\\u00e9"]}' + text[end + 1 :]
        here.file.write_bytes(text.encode())
        here.uninstall()
        left = here.file.read_bytes()
        assert b'"added by hand": [1.50, "\\u00e9"]' in left
        expected, found = load(content), load(left)
        assert found.pop("added by hand") == [1.5, "é"]
        assert json.dumps(expected) == json.dumps(found)


@MODEST
@given(files(), FLAGS, FLAGS)
def test_an_install_with_other_flags_still_leads_back(
    content: bytes, flags: dict[str, bool], others: dict[str, bool]
) -> None:
    """However often it was installed, one uninstall gives the user's bytes back."""
    with machine(content) as here:
        here.install(**flags)
        here.install(**others)
        here.uninstall()
        assert content == here.file.read_bytes()


@MODEST
@given(files())
def test_without_the_backups_our_entries_still_go(content: bytes) -> None:
    """A lost home costs at most containers that were empty before."""
    with machine(content) as here:
        here.install(with_statusline=True)
        shutil.rmtree(here.home)
        here.uninstall()
        before, after = load(content), load(here.file.read_bytes())
        assert b"watchkeeper" not in here.file.read_bytes()
        for document in (before, after):
            hooks = {name: groups for name, groups in document.pop("hooks", {}).items() if groups}
            document["hooks"] = hooks
        assert before == after
