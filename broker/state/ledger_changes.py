"""What each record changes in a ledger. Called by `State.apply` only."""

from __future__ import annotations

from collections.abc import Callable

from broker import records
from broker.state.ledger import Ledger


def _settings_set(ledger: Ledger, record: records.SettingsSet) -> None:
    ledger.expires_after = record.expires_after
    ledger.max_deliveries = record.max_deliveries


def _leased(ledger: Ledger, record: records.Leased) -> None:
    for seq in range(record.first, record.first + record.count):
        ledger.leases.lease(seq, record.attempt, record.until)


def _returned(ledger: Ledger, record: records.Returned) -> None:
    for seq in record.seqs:
        ledger.leases.give_back(seq, record.due)


def _finished(ledger: Ledger, record: records.Finished) -> None:
    for seq in record.seqs:
        ledger.leases.finish(seq)


def _dead_lettered(ledger: Ledger, record: records.DeadLettered) -> None:
    if record.letter.seq in ledger.leases.held:  # not when a store is loaded
        ledger.leases.finish(record.letter.seq)
    ledger.dead.add(record.letter)


def _dead_ended(ledger: Ledger, record: records.DeadEnded) -> None:
    for seq in record.seqs:
        ledger.dead.remove(seq)


def _dead_returned(ledger: Ledger, record: records.DeadReturned) -> None:
    for seq in record.seqs:
        ledger.leases.put_back(ledger.dead.remove(seq))


LEDGER_CHANGES: dict[type, Callable[..., None]] = {
    records.SettingsSet: _settings_set,
    records.Leased: _leased,
    records.Returned: _returned,
    records.Finished: _finished,
    records.DeadLettered: _dead_lettered,
    records.DeadEnded: _dead_ended,
    records.DeadReturned: _dead_returned,
}
