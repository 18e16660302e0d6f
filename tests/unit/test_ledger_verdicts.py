"""What verdicts say beside intact and complete: silence, anchors, bundles and the stand-alone verifier."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from watchkeeper.errors import UsageError
from watchkeeper.ledger import standalone
from watchkeeper.ledger.anchor import evidence
from watchkeeper.ledger.bundle import export_bundle
from watchkeeper.ledger.entries import Entry
from watchkeeper.ledger.keys import KeyRing
from watchkeeper.ledger.verify import verify
from watchkeeper.ledger.writer import LedgerWriter


def make(home: Path, found: list[Entry]) -> LedgerWriter:
    writer = LedgerWriter(home / "ledger", KeyRing(home / "keys"), checkpoint_entries=4)
    for entry in found:
        writer.append([entry])
        writer.commit()
    writer.close()
    return writer


def pulse(kind: str, second: int) -> Entry:
    return Entry(kind, "recorder", second * 1000, json.dumps({"boot": "b", "pid": 1}).encode())


@pytest.mark.parametrize(
    ("pulses", "silent"),
    [
        ([("start", 0), ("heartbeat", 300), ("heartbeat", 900)], []),
        ([("start", 0), ("heartbeat", 300), ("heartbeat", 901)], ["entries 1 to 2"]),
        ([("heartbeat", 0), ("start", 5000), ("heartbeat", 5300)], ["entries 0 to 1"]),
        ([("heartbeat", 0), ("stop", 10), ("start", 5000), ("heartbeat", 5300)], []),
        ([("heartbeat", 9000), ("heartbeat", 100), ("heartbeat", 400)], []),
    ],
)
def test_silence_between_heartbeats_is_a_finding(
    tmp_path: Path, pulses: list[tuple[str, int]], silent: list[str]
) -> None:
    """Time in which nothing recorded, and nobody had stopped it, is told; it is no verdict on what is there."""
    make(tmp_path, [pulse(kind, second) for kind, second in pulses])
    verdict = verify(tmp_path / "ledger", tmp_path / "keys", heartbeat_seconds=300)
    assert verdict.ok
    assert [item.place for item in verdict.findings if item.what == "the recorder was silent"] == silent


def test_an_empty_or_fresh_ledger_is_not_called_broken(tmp_path: Path) -> None:
    """Nothing on record is nothing wrong; entries without any signature are of unknown completeness."""
    verdict = verify(tmp_path / "ledger", tmp_path / "keys")
    assert (verdict.ok, verdict.entries, verdict.completeness) == (True, 0, "unknown")
    writer = LedgerWriter(tmp_path / "ledger", KeyRing(tmp_path / "keys"))
    writer.append([pulse("start", 0)])
    writer.commit()
    verdict = verify(tmp_path / "ledger", tmp_path / "keys")
    assert (verdict.ok, verdict.entries, verdict.completeness) == (True, 1, "unknown")
    assert any("not signed yet" in item.what for item in verdict.findings)
    writer.close()


def test_verify_while_the_writer_appends(tmp_path: Path) -> None:
    """A check in the middle of writing sees a whole ledger each time."""
    writer = LedgerWriter(tmp_path / "ledger", KeyRing(tmp_path / "keys"), checkpoint_entries=3)
    for number in range(20):
        writer.append([pulse("heartbeat", number)])
        writer.commit()
        assert verify(tmp_path / "ledger", tmp_path / "keys").ok
    writer.close()


def test_the_anchor_is_none_for_whoever_holds_the_keys(tmp_path: Path) -> None:
    """Only a user who can neither write the ledger nor read its keys makes the anchor better than none."""
    make(tmp_path, [pulse("start", 0)])
    ledger, keys = tmp_path / "ledger", tmp_path / "keys"
    assert verify(ledger, keys).anchor == "none"
    assert any("signed by itself only" in item.what for item in verify(ledger, keys).findings)
    stranger = os.getuid() + 4321
    if any(
        parent.stat().st_mode & 0o022 and not parent.stat().st_mode & 0o1000 for parent in tmp_path.parents
    ):
        pytest.skip("a folder above the temporary one can be written by everybody")
    assert evidence(ledger, keys, stranger)[0] == "other-user"
    (key,) = keys.glob("*.private")
    key.chmod(0o644)
    assert evidence(ledger, keys, stranger) == ("none", f"{key} can be read by others")
    key.chmod(0o600)
    (ledger / "checkpoints.jsonl").chmod(0o666)
    assert evidence(ledger, keys, stranger)[0] == "none"
    assert evidence(tmp_path / "nowhere", keys, stranger)[0] == "none"


def run(bundle: Path, *arguments: str) -> tuple[int, dict[str, object]]:
    """Run the stand-alone verifier with nothing but the standard library."""
    script = Path(standalone.__file__)
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(script), str(bundle), "--json", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=bundle.parent,
    )
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def test_the_stand_alone_verifier_agrees_and_needs_nothing(tmp_path: Path) -> None:
    """A bundle with text, bytes, an erased payload, a withheld entry and two keys verifies without our code."""
    found = [Entry("hook", f"s:{n} \u00e4", n, f'{{"n":"\u20ac{n}"}}'.encode()) for n in range(9)]
    writer = make(tmp_path, [*found, Entry("raw", "s", -5, bytes(range(256)))])
    first_key = writer.keys.public_keys()[0].public_key
    writer = LedgerWriter(tmp_path / "ledger", KeyRing(tmp_path / "keys"))
    writer.erase([2], "asked")
    writer.rotate_key()
    writer.append(found)
    writer.close()
    bundle = tmp_path / "b.jsonl"
    exported = export_bundle(
        tmp_path / "ledger", tmp_path / "keys", bundle, include=lambda entry: entry.source != "s:4 \u00e4"
    )
    status, verdict = run(bundle, "--key", first_key)
    assert status == 0
    assert verdict == standalone.verify_bundle(str(bundle), first_key)
    whole = verify(tmp_path / "ledger", tmp_path / "keys")
    assert (verdict["ok"], verdict["integrity"]) == (whole.ok, whole.integrity)
    assert verdict["checkpoints"] == whole.checkpoints == exported.checkpoints
    assert verdict["entries"] == exported.entries == whole.entries - 2
    assert (verdict["completeness"], verdict["anchor"]) == ("unknown", "none")
    assert bundle.stat().st_mode & 0o077 == 0
    status, verdict = run(bundle, "--key", "00" * 32)
    assert (status, verdict["integrity"]) == (1, "broken")


def test_the_stand_alone_verifier_refuses_every_change(tmp_path: Path) -> None:
    """Each line removed, doubled or swapped, and each character changed, makes a bundle bad."""
    make(tmp_path, [Entry("hook", f"s:{n}", n, b"payload") for n in range(6)])
    bundle = tmp_path / "b.jsonl"
    export_bundle(tmp_path / "ledger", tmp_path / "keys", bundle, 1, 4, lambda entry: entry.seq != 3)
    lines = bundle.read_bytes().splitlines(keepends=True)
    assert standalone.verify_bundle(str(bundle))["ok"]

    def verdict(content: list[bytes]) -> dict[str, object]:
        bundle.write_bytes(b"".join(content))
        return standalone.verify_bundle(str(bundle))

    for number in range(len(lines)):
        assert not verdict(lines[:number] + lines[number + 1 :])["ok"], number
        assert not verdict([*lines[:number], lines[number], *lines[number:]])["ok"], number
        assert not verdict(lines[:number])["ok"], number
    for number, line in enumerate(lines):
        if b'"type":"header"' in line:
            continue
        for offset in range(len(line) - 1):
            changed = line[:offset] + bytes([line[offset] ^ 1]) + line[offset + 1 :]
            assert not verdict([*lines[:number], changed, *lines[number + 1 :]])["ok"], changed
    cut = verdict(lines[:-1])
    assert (cut["integrity"], cut["completeness"]) == ("intact", "truncated")


def test_bundles_hold_signed_entries_only(tmp_path: Path) -> None:
    """What no checkpoint covers is not exported, and no part of a file is left behind."""
    writer = LedgerWriter(tmp_path / "ledger", KeyRing(tmp_path / "keys"))
    writer.append([pulse("start", 0)])
    writer.commit()
    destination = tmp_path / "b.jsonl"
    with pytest.raises(UsageError, match="nothing is signed yet"):
        export_bundle(tmp_path / "ledger", tmp_path / "keys", destination)
    writer.checkpoint()
    with pytest.raises(UsageError, match="0 to 0 are signed"):
        export_bundle(tmp_path / "ledger", tmp_path / "keys", destination, 0, 1)
    assert not destination.exists()
    export_bundle(tmp_path / "ledger", tmp_path / "keys", destination)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["b.jsonl"]
    writer.close()


def test_ed25519_in_plain_python_agrees_with_the_library() -> None:
    """Vectors of RFC 8032 hold, and changed signatures, keys and messages do not."""
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert standalone.verify_in_python(public, b"\x72", signature)
    assert not standalone.verify_in_python(public, b"\x73", signature)
    for number in range(6):
        key = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
        raw, message = key.public_key().public_bytes_raw(), bytes(number * 40)
        made = key.sign(message)
        assert standalone.verify_in_python(raw, message, made)
        for offset in range(0, 64, 9):
            changed = made[:offset] + bytes([made[offset] ^ 4]) + made[offset + 1 :]
            assert not standalone.verify_in_python(raw, message, changed)
        larger = int.from_bytes(made[32:], "little") + standalone.ORDER
        assert not standalone.verify_in_python(raw, message, made[:32] + larger.to_bytes(32, "little"))
        assert not standalone.verify_in_python(raw[:31], message, made)
    assert not standalone.verify_in_python(b"\xff" * 32, b"", signature)


def test_wrong_use_of_the_stand_alone_verifier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong words and missing files give status 2 and one line; a bad bundle gives status 1 and says from where."""
    assert standalone.main([]) == 2
    assert standalone.main([str(tmp_path / "absent")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    bad = tmp_path / "bad"
    bad.write_bytes(b"no json\n")
    assert standalone.main([str(bad)]) == 1
    assert "NOT good from entry 0" in capsys.readouterr().out
