"""The tables of the logs, and every statement that is sent about them.

`fanmail_logs` has a row per log; `fanmail_log` has the entries. A statement is a transaction of its own, so that its
commit, which waits for the standbys of PostgreSQL, is part of its answer.
"""

from __future__ import annotations

CREATE = """
CREATE TABLE IF NOT EXISTS fanmail_logs (
    log bytea PRIMARY KEY, cluster text NOT NULL, broker text NOT NULL,
    first bigint NOT NULL DEFAULT 1, last bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0, max_bytes bigint NOT NULL CHECK (max_bytes > 0));
CREATE TABLE IF NOT EXISTS fanmail_log (
    log bytea NOT NULL, position bigint NOT NULL, data bytea NOT NULL, PRIMARY KEY (log, position));
ALTER TABLE fanmail_log ALTER COLUMN data SET STORAGE EXTERNAL;
"""

SESSION = """
SET synchronous_commit = on; SET statement_timeout = 0; SET lock_timeout = '700ms';
SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off;
"""
"""The wait of a commit for the standbys must not be cancelled, by a `statement_timeout` for instance: what was
committed is then visible while no standby has it."""

APPEND = """
WITH moved AS (
    UPDATE fanmail_logs SET last = last + 1, bytes = bytes + octet_length(%(data)b::bytea)
    WHERE log = %(log)b AND last = %(expected)s AND bytes + octet_length(%(data)b::bytea) <= max_bytes
    RETURNING last
), put AS (
    INSERT INTO fanmail_log (log, position, data) SELECT %(log)b, last, %(data)b FROM moved
)
SELECT last FROM moved
"""
"""Has a row where the entry was appended."""

STATE = "SELECT first, last, bytes, max_bytes FROM fanmail_logs WHERE log = %(log)b"

READ = """
SELECT l.first, l.last, e.position, e.data FROM fanmail_logs l LEFT JOIN LATERAL (
    SELECT position, data FROM (
        SELECT position, data, sum(octet_length(data)) OVER (ORDER BY position) AS total
        FROM (SELECT position, data FROM fanmail_log WHERE log = l.log AND position >= greatest(%(position)s, l.first)
              ORDER BY position LIMIT 500) wanted
    ) counted WHERE total <= %(most_bytes)s OR position = greatest(%(position)s, l.first)
) e ON true WHERE l.log = %(log)b ORDER BY e.position
"""
"""A row per entry from a position on, one without an entry where there is none, and no row where there is no log."""

BARRIER = "SELECT pg_logical_emit_message(true, 'fanmail', '')"
"""Ends when the standbys have everything that was visible before it: its commit is behind theirs."""

PURGE = "UPDATE fanmail_logs SET first = greatest(first, least(%(before)s, last + 1)) WHERE log = %(log)b"
DELETE_SOME = """
WITH gone AS (
    DELETE FROM fanmail_log WHERE log = %(log)b AND position IN (
        SELECT e.position FROM fanmail_log e JOIN fanmail_logs l ON l.log = e.log
        WHERE e.log = %(log)b AND e.position < l.first ORDER BY e.position LIMIT 1000)
    RETURNING octet_length(data) AS size
)
UPDATE fanmail_logs SET bytes = bytes - (SELECT coalesce(sum(size), 0) FROM gone)
WHERE log = %(log)b AND EXISTS (SELECT FROM gone) RETURNING last
"""
"""Delete some of the entries that were purged; has no row where there was none."""

NOTIFY = "SELECT pg_notify(%(channel)s, %(text)s)"

SETTINGS = """
SELECT current_setting('synchronous_commit'), current_setting('synchronous_standby_names'), current_setting('fsync'),
       current_setting('full_page_writes'), coalesce(host(inet_server_addr()), 'local')
"""


def channel_of(log_id: bytes) -> str:
    """Return the channel on which the candidates of a log tell each other of entries, and report."""
    return f"fanmail_{log_id.hex()}"
