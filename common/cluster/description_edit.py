"""Writes the table of slots into a cluster description, and leaves everything else in the file as it is."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError

from common.cluster.slot_table import format_slots
from common.cluster.slots import SlotOwner
from common.errors import StartError


def write_slots(path: Path, table: Sequence[SlotOwner], brokers: Sequence[str]) -> int:
    """Put the owners of all slots into a description, with the next epoch, atomically; return that epoch.

    Pins are replaced. Raises `StartError`.
    """
    try:
        target = path.resolve(strict=True)
        before = target.stat()
        text, epoch = with_slots(target.read_text(encoding="utf-8"), table, brokers)
        fresh = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with fresh.open("w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
                if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from None
    except (TOMLKitError, ValueError) as error:
        raise StartError(f"{path}: {error}") from None
    return epoch


def with_slots(text: str, table: Sequence[SlotOwner], brokers: Sequence[str]) -> tuple[str, int]:
    """Return the text of a description with this table and the next epoch, and that epoch. Raises `ValueError`."""
    document = tomlkit.parse(text)
    cluster = document.setdefault("cluster", tomlkit.table())
    epoch = int(cluster.get("epoch", 1)) + 1
    cluster["epoch"] = epoch
    cluster.pop("pins", None)
    slots = tomlkit.table()
    for broker in brokers:
        mine = {slot: owner.epoch for slot, owner in enumerate(table) if owner.broker == broker}
        slots[broker] = format_slots(mine)
    slots.add(tomlkit.nl())
    cluster["slots"] = slots
    return tomlkit.dumps(document), epoch
