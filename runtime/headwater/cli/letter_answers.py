"""How dead letters, and what became of them, are written for people and programs."""

import json
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from headwater.assembly.letters import Entry, Refused, Replayed, ReplayOptions
from headwater.cli.words import counted
from headwater.engine import StoredLetter

MS: Final = 1000
HEADINGS: Final = ("at", "code", "record", "first seen", "status")


def fields_of(entry: Entry) -> dict[str, Any]:
    """Everything about a letter but its payload, for JSON; times to the millisecond, in UTC."""
    letter = entry.letter
    return {
        "at": _at(letter),
        "status": entry.status,
        "code": letter.code,
        "step": letter.step,
        "message": letter.message,
        "first_seen": _time(letter.first_seen_ms),
        "attempts": letter.attempts,
        "release": letter.release or None,
        "source": {
            "topic": letter.source.topic,
            "partition": letter.source.index,
            "offset": letter.source_offset,
            "published": _time(letter.published_ms),
        },
        "schema_id": letter.schema_id,
        "schema_guid": letter.schema_guid,
        "omitted": sorted(letter.omitted),
        "behind": letter.behind,
    }


def print_list(entries: Sequence[Entry], *, has_resolved: bool) -> None:
    """A line for each letter, and below it why; messages are shortened on a terminal alone.

    Where only open ones are, the column of what became of them is left out.
    """
    if not entries:
        return
    shown = len(HEADINGS) if has_resolved else len(HEADINGS) - 1
    rows = [HEADINGS[:shown], *(_row(each)[:shown] for each in entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    reasons = ["", *(_reason(each.letter) for each in entries)]
    for row, reason in zip(rows, reasons, strict=True):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
        if reason:
            print(_shortened(f"    {reason}", columns))


def print_letter(fields: dict[str, Any]) -> None:
    """As a block: a line each, empty ones left out, payload fields below each other."""
    source = "{topic}[{partition}]@{offset}, published {published}".format(**fields["source"])
    about = fields | {"source": source, "omitted": ", ".join(fields["omitted"])}
    payload = about.pop("payload", None)
    print(f"letter {about.pop('at')}, {about.pop('status')}")
    for name, value in about.items():
        if value not in {None, ""}:
            print(f"  {name.replace('_', ' '):<10}  {value}")
    if isinstance(payload, dict):
        for name, value in payload.items():
            print(f"  {name:<10}  {_payload_text(value)}")
    elif payload is not None:
        print(f"  payload     {payload}")
    print()


def outcome(topic: str, done: Replayed, options: ReplayOptions) -> dict[str, Any]:
    """What a replay came to, for JSON."""
    return {
        "topic": topic,
        "dry_run": options.is_dry,
        "replayed": done.replayed,
        "failed_again": done.failed_again,
        "stopping": done.stopping,
        "left_newer": done.left_newer,
        "left_behind": done.left_behind,
        "written": done.written,
        "moved": done.moved,
        "late": done.late,
        "duplicates": done.duplicates,
        "superseded": done.superseded,
        "unordered": done.unordered,
        "keys": done.keys,
        "newer_keys": done.newer_keys,
        "refused": [_refusal(each) for each in done.refused],
    }


def print_outcome(topic: str, done: Replayed, options: ReplayOptions) -> None:
    """What a replay came to, or would come to, as sentences."""
    would = "would be " if options.is_dry else ""
    print(f"{topic}: {counted(done.replayed, 'letter')} {would}replayed{_written(done)}")
    _print_rows(done)
    for code, count in done.failed_again.most_common():
        print(f"  {counted(count, 'letter')} failed again: {code}")
    if done.stopping:
        print(f"  {done.stopping:,} of them under a rule of severity stop, which stops the product")
    if done.left_newer:
        whose = "its key has" if done.left_newer == 1 else "their keys have"
        print(f"  {counted(done.left_newer, 'letter')} left open: {whose} newer values")
    if done.left_behind:
        waits = "it waits for one" if done.left_behind == 1 else "they wait for others"
        print(f"  {counted(done.left_behind, 'letter')} left open: {waits} that stayed open")
    for refused in map(_refusal, done.refused):
        print(f"  {refused['at']} stays open: {refused['reason']}")
    if done.newer_keys:
        has = "has" if done.newer_keys == 1 else "have"
        print(f"  {done.newer_keys:,} of {counted(done.keys, 'key')} {has} newer values")


def _print_rows(done: Replayed) -> None:
    """What became of rows that are not published, or not yet."""
    for topic, count in done.moved.items():
        if count:
            print(f"  {counted(count, 'row')} to {topic}, where the product goes on with them")
    for step, count in done.late.items():
        print(f"  {counted(count, 'row')} dropped by {step}: late")
    for step, count in done.duplicates.items():
        print(f"  {counted(count, 'row')} dropped by {step}: there already")
    for step, count in done.superseded.items():
        print(f"  {counted(count, 'row')} dropped by {step}: a later one of the key came before")
    for step, count in done.unordered.items():
        print(f"  {counted(count, 'row')} dropped by {step}: nothing to order it by")


def _written(done: Replayed) -> str:
    if not done.replayed:
        return ""
    written = ", ".join(f"{count:,} to {name}" for name, count in done.written.items() if count)
    return f", {written}" if written else ", nothing to publish"


def _refusal(refused: Refused) -> dict[str, str]:
    return {"at": _at(refused.letter), "reason": refused.reason}


def _row(entry: Entry) -> tuple[str, ...]:
    letter = entry.letter
    record = f"{letter.source}@{letter.source_offset}"
    seen = _time(letter.first_seen_ms, "seconds")
    return _at(letter), letter.code, record, seen, entry.status


def _reason(letter: StoredLetter) -> str:
    attempts = f", {counted(letter.attempts, 'attempt')}" if letter.attempts > 1 else ""
    return f"{letter.step}{attempts}: {' '.join(letter.message.split())}"


def _shortened(text: str, columns: int | None) -> str:
    return text if columns is None or len(text) <= columns else f"{text[: columns - 1]}…"


def _payload_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return text.replace("\n", "\n  ")


def _at(letter: StoredLetter) -> str:
    return f"{letter.partition.index}@{letter.offset}"


def _time(ms: int, precision: str = "milliseconds") -> str:
    moment = datetime.fromtimestamp(ms / MS, UTC)
    return moment.isoformat(timespec=precision).removesuffix("+00:00") + "Z"
