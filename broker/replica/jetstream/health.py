"""What the answers about a stream say of it: gone, made anew, or with wrong settings.

One answer that it is gone is not believed: a server that has just started does not know better. That it has fewer
entries than were seen is judged by the candidate.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.replica.engine.names import StreamName
from broker.replica.jetstream import api
from broker.replica.log import StreamInfo

GONE_S = 2.0
"""How long the servers must say that there is no such stream."""
PROVEN = "fanmail_syncs"
"""Key of the metadata of a stream: names of servers, between commas. `bin/replica doctor` writes it."""
HEADROOM_BYTES = 2**20
"""What an entry may have beside the greatest batch."""


class Health:
    """Judges the answers about one stream."""

    def __init__(self, name: StreamName, clock: Callable[[], float]) -> None:
        """`clock` counts seconds."""
        self._name, self._clock = name, clock
        self._gone_since = 0.0
        self._created = ""

    def on_answer(self) -> None:
        """Note that the stream has answered a read."""
        self._gone_since = 0.0

    def on_error(self, error: Exception) -> str:
        """Return why the log is lost, "" where this error does not say so."""
        if not isinstance(error, api.RequestError) or error.code != api.NO_STREAM:
            return ""
        self._gone_since = self._gone_since or self._clock()
        return f"NATS has no stream {self._name}" if self._clock() - self._gone_since >= GONE_S else ""

    def on_described(self, described: api.Described) -> str:
        """Return why the log is lost, "" where it is not."""
        self.on_answer()
        if self._created not in ("", described.created):
            return f"the stream {self._name} was made anew"
        self._created = described.created
        return ""


def info_of(described: api.Described, replicas: int, problems: tuple[str, ...]) -> StreamInfo:
    """Return what a candidate wants to know of a stream."""
    config, state, members = described.config, described.state, described.cluster
    servers = tuple(sorted(each for each in (members.leader, *(peer.name for peer in members.replicas)) if each))
    return StreamInfo(
        first=state.first_seq,
        last=state.last_seq,
        bytes=state.bytes,
        max_bytes=max(0, config.max_bytes),
        replicas=config.num_replicas,
        problems=(*problems_of(config, replicas), *problems),
        leader=members.leader,
        placement=servers,
        unproven=tuple(each for each in servers if each not in proven_of(config)),
    )


def proven_of(config: api.Config) -> set[str]:
    """Return the servers of which it is noted at a stream that they sync before they acknowledge."""
    return set(filter(None, (config.metadata or {}).get(PROVEN, "").split(",")))


def problems_of(config: api.Config, replicas: int) -> tuple[str, ...]:
    """Return each setting of a stream with which it must not be used."""
    wanted = {
        "num_replicas": (config.num_replicas, replicas),
        "storage": (config.storage, "file"),
        "retention": (config.retention, "limits"),
        "discard": (config.discard, "new"),
        "max_age": (config.max_age, 0),
        "max_msgs": (config.max_msgs, -1),
        "max_msgs_per_subject": (config.max_msgs_per_subject, -1),
        "max_msg_size": (config.max_msg_size, -1),
        "deny_delete": (config.deny_delete, True),
        "deny_purge": (config.deny_purge, False),
        "allow_direct": (config.allow_direct, True),
        "allow_rollup_hdrs": (config.allow_rollup_hdrs, False),
        "allow_msg_ttl": (config.allow_msg_ttl, False),
        "no_ack": (config.no_ack, False),
        "sealed": (config.sealed, False),
        "mirror": (bool(config.mirror), False),
        "sources": (bool(config.sources), False),
    }
    found = [f"{name} is {show(value)}, not {show(right)}" for name, (value, right) in wanted.items() if value != right]
    if config.max_bytes <= 0:
        found.append("max_bytes is unlimited: the log would fill the disk")
    return tuple(found)


def show(value: object) -> str:
    """Return a value as JSON has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def payload_problems(max_payload: int, max_batch: int) -> tuple[str, ...]:
    """Return what is wrong with the greatest message of a server; 0: unknown."""
    least = max_batch + HEADROOM_BYTES
    if not 0 < max_payload < least:
        return ()
    return (f"max_payload of the NATS server is {max_payload}, and must be at least {least}",)
