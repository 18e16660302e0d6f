"""Takes secrets out of the few names that the quick scan of usage keeps: branches, folders, models, identities.

Nearly always these are plain words, so building a redactor for them would cost more than the whole scan. Names that
no rule could find anything in are told by their form; only others are put to the redactor, under the key that they
stand under in a transcript, so that the import makes the same of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import TYPE_CHECKING

from watchkeeper.settings import Settings
from watchkeeper.sources.claude_code import usage_scan as scan
from watchkeeper.sources.claude_code.usage_scan import UsageScan

if TYPE_CHECKING:
    from watchkeeper.redaction.engine import Redactor

_LINES = {
    scan.SESSION: '{"sessionId":%s}', scan.AGENT: '{"agentId":%s}', scan.MODEL: '{"message":{"model":%s}}',
    scan.TIER: '{"message":{"usage":{"service_tier":%s}}}', scan.SPEED: '{"message":{"usage":{"speed":%s}}}',
    scan.REGION: '{"message":{"usage":{"inference_geo":%s}}}', scan.BRANCH: '{"gitBranch":%s}',
    scan.SKILL: '{"attributionSkill":%s}', scan.SERVER: '{"attributionMcpServer":%s}',
    scan.CLAIMANT: '{"sessionId":%s}',
}  # fmt: skip
"""How a name of each place in a request stands in a transcript."""
_KEY_LINE = '{"message":{"id":%s}}'
_FOLDER_LINE = '{"cwd":%s}'
_names_of = itemgetter(*_LINES)

# A word, a short number, or short hexadecimal digits. Rules ask for a sign, or for a prefix with a longer mixture.
_PIECE = r"(?:(?:[A-Z]?[a-z]{1,20}|[A-Z]{1,12})[0-9]{0,4}|[0-9]{1,8}|[0-9a-f]{1,20})(?![A-Za-z0-9])"
_PLAIN = re.compile(
    rf"<synthetic>|[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}"
    rf"|[-_./~]*+(?:{_PIECE}[-_./~]*+)*+(?:\[1m\]|[:@][0-9]{{1,8}})?"
)
_PLAIN_KEYS = re.compile(
    r"(?:(?:msg|req)_(?:bdrk_|vrtx_)?[0-9][A-Za-z0-9]{0,40}\n|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\n)*+"
)


class UsageMasks:
    """Masks what scans of one home find.

    Args:
        settings: The home, whose redaction is followed.
        known: Gives the names that went through this before; asked once, and only where a name is not plain.
    """

    def __init__(self, settings: Settings, known: Callable[[], Iterable[str]]) -> None:
        self._settings = settings
        self._ask = known
        self._known: frozenset[str] | None = None
        self._redactor: Redactor | None = None
        places = settings.places
        own = (places.home / settings["redaction.rules"], places.keys / "learnt.sealed")
        self._form_tells = settings["redaction.mode"] != "metadata" and not any(path.exists() for path in own)

    def apply(self, found: UsageScan) -> None:
        """Replace every secret in a scan, before anything of it is kept.

        Raises:
            ConfigError: The home's redaction cannot be made from its settings.
        """
        masks: dict[int, dict[str, str]] = {}
        for place, names in zip(
            _LINES, zip(*set(map(_names_of, found.requests.values())), strict=True), strict=False
        ):
            changed = self._changed(set(names) - {None}, _LINES[place])
            if changed:
                masks[place] = changed
        for place, changed in masks.items():
            for request in found.requests.values():
                request[place] = changed.get(request[place], request[place])
        self._mask_sessions(found)
        self._mask_keys(found)

    def _mask_sessions(self, found: UsageScan) -> None:
        folders = self._changed({row[scan.CWD] for row in found.sessions.values()} - {None}, _FOLDER_LINE)
        for row in found.sessions.values() if folders else ():
            row[scan.CWD] = folders.get(row[scan.CWD], row[scan.CWD])
        changed = self._changed(set(found.sessions), _LINES[scan.SESSION])
        if changed:
            for name, masked in changed.items():
                found.merge(UsageScan({}, {masked: found.sessions.pop(name)}))
            for key, names in found.copies.items():
                found.copies[key] = sorted({changed.get(name, name) for name in names})

    def _mask_keys(self, found: UsageScan) -> None:
        keys = found.requests.keys()
        if _PLAIN_KEYS.fullmatch("".join(f"{key}\n" for key in keys)):
            return
        # A line without any id is named by its place, and that has to be kept to find the file again.
        named = {key for key in keys if "\0" not in key and not _PLAIN_KEYS.fullmatch(f"{key}\n")}
        for key, masked in self._changed(named, _KEY_LINE).items():
            copies = {masked: found.copies.pop(key)} if key in found.copies else {}
            found.merge(UsageScan({masked: found.requests.pop(key)}, copies=copies))

    def _changed(self, names: set[str], line: str) -> dict[str, str]:
        """Return those names that held a secret, with what is left of them."""
        if self._form_tells:
            names = {name for name in names if not _PLAIN.fullmatch(name)}
        if not names:
            return {}
        if self._known is None:
            self._known = frozenset(self._ask())
        return {
            name: masked
            for name in sorted(names - self._known)
            if (masked := self._masked(name, line)) != name
        }

    def _masked(self, name: str, line: str) -> str:
        if self._redactor is None:
            from watchkeeper.pipeline.learning import LearntSecrets
            from watchkeeper.redaction.engine import Redactor

            self._redactor = Redactor.from_settings(self._settings)
            self._redactor.learn(LearntSecrets(self._settings.places).values(), certain=True)
        value = json.loads(self._redactor.redact((line % json.dumps(name)).encode()).data)
        while isinstance(value, dict):
            (value,) = value.values()
        return str(value)
