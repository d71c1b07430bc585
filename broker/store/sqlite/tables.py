"""The tables of a durable store. A row class lists the columns once; schema, writes and reads follow from it.

The store keeps state, not history: a row for what is alive, and none for what is not. `topic` in a row is the topic's
number, which a store never assigns twice; in `delayed` and `keys`, which outlive topics, it is the name. Times have the
units of the records (`broker/records.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, NamedTuple, TypeVar, get_type_hints

import apsw

_TYPES: dict[Any, str] = {
    int: "INTEGER NOT NULL",
    int | None: "INTEGER",
    bytes: "BLOB NOT NULL",
    str: "TEXT NOT NULL",
    object: "",
}
R = TypeVar("R", bound=tuple[Any, ...])


class Table(Generic[R]):
    """One table, whose columns are the fields of the NamedTuple `row`, in that order."""

    def __init__(self, name: str, row: type[R], key: tuple[str, ...] = (), unique: tuple[str, ...] = ()) -> None:
        """`key` names the columns of the primary key, `unique` those of a further unique index.

        Without a key the rows have a column `id`, which is not in `row` and grows with every insert.
        """
        types = get_type_hints(row)
        self.name = name
        self.row = row
        self.columns: tuple[str, ...] = tuple(types)
        self.key = key or unique
        """The columns that identify a row."""
        listed, marks = ", ".join(self.columns), ", ".join("?" * len(types))
        self.insert = f"INSERT INTO {name} ({listed}) VALUES ({marks})"
        self.replace = f"INSERT OR REPLACE INTO {name} ({listed}) VALUES ({marks})"
        self.delete = f"DELETE FROM {name} WHERE {' AND '.join(f'{column} = ?' for column in self.key)}"
        self.create = _create(name, types, key, unique)

    def select(self, *columns: str) -> str:
        """Return a query of the named columns, or of all, in the order of `row`; clauses may follow it."""
        return f"SELECT {', '.join(columns or self.columns)} FROM {self.name} "

    def read(self, db: apsw.Connection, clauses: str = "") -> Iterator[R]:
        """Yield the rows. Raises `apsw.Error`."""
        return map(self.row._make, db.execute(self.select() + clauses))  # type: ignore[attr-defined]


def _create(name: str, types: dict[str, Any], key: tuple[str, ...], unique: tuple[str, ...]) -> str:
    columns = {column: _TYPES[kind] for column, kind in types.items()}
    rowid = len(key) == 1 and types[key[0]] is int
    if not key:
        columns = {"id": "INTEGER PRIMARY KEY", **columns}
    elif rowid:
        columns[key[0]] = "INTEGER PRIMARY KEY"
    lines = [f"{column} {kind}".rstrip() for column, kind in columns.items()]
    if key and not rowid:
        lines.append(f"PRIMARY KEY ({', '.join(key)})")
    without = " WITHOUT ROWID" if key and not rowid else ""
    index = f"CREATE UNIQUE INDEX {name}_of ON {name} ({', '.join(unique)});\n" if unique else ""
    return f"CREATE TABLE {name} (\n    {', '.join(lines)}\n){without};\n{index}"


class MetaRow(NamedTuple):
    """One fact about the store as a whole (`meta.py`)."""

    name: str
    value: object


class TopicRow(NamedTuple):
    """A topic that is alive."""

    number: int
    name: bytes
    head: int
    """Messages below it are gone, whoever wants them."""


class TopicSettingsRow(NamedTuple):
    """What the operator has set for one topic; NULL stands for the broker's configuration."""

    topic: int
    max_messages: int | None
    max_bytes: int | None
    max_age: int | None
    drop_oldest: int | None


class PieceRow(NamedTuple):
    """A message or batch in the log of a topic. Its content has the same id."""

    id: int
    """Grows in the order of storing."""
    topic: int
    first: int
    count: int  # type: ignore[assignment]  # over the method of tuples
    time: int
    expires: int
    size: int
    """Bytes of the content."""
    digest: int
    """Of the content (`contents.py`)."""


class SubscriptionRow(NamedTuple):
    """Where a subscription stands."""

    topic: int
    user: bytes
    position: int


class SettingsRow(NamedTuple):
    """The settings of a subscription that has any."""

    topic: int
    user: bytes
    expires_after: int
    max_deliveries: int


class HeldRow(NamedTuple):
    """A message that is leased, or waits for redelivery."""

    topic: int
    user: bytes
    seq: int
    attempt: int
    until: int
    """0 where it is not leased."""
    due: int


class LetterRow(NamedTuple):
    """A dead letter, or one that was put back and waits again."""

    id: int
    """Grows in the order of dying."""
    topic: int
    user: bytes
    seq: int
    dead: int
    """0 for one that was put back."""
    time: int
    attempt: int
    expires: int
    digest: int


class DelayedRow(NamedTuple):
    """A publish that is not due yet."""

    number: int
    topic: bytes
    due: int
    ttl: int
    count: int  # type: ignore[assignment]  # over the method of tuples
    digest: int


class KeyRow(NamedTuple):
    """A remembered idempotency key."""

    topic: bytes
    key: bytes
    digest: bytes
    at: int
    subscribers: int
    seq: int
    due: int


class ContentRow(NamedTuple):
    """What a message says. In a table apart from where messages are: damage to it is damage to single messages."""

    id: int
    headers: bytes
    offsets: bytes
    body: bytes


META = Table("meta", MetaRow, key=("name",))
TOPICS = Table("topics", TopicRow, key=("number",))
TOPIC_SETTINGS = Table("topic_settings", TopicSettingsRow, key=("topic",))
PIECES = Table("pieces", PieceRow, key=("id",))
SUBSCRIPTIONS = Table("subscriptions", SubscriptionRow, key=("topic", "user"))
SETTINGS = Table("settings", SettingsRow, key=("topic", "user"))
HELD = Table("held", HeldRow, key=("topic", "user", "seq"))
LETTERS = Table("letters", LetterRow, key=("id",), unique=("topic", "user", "seq"))
DELAYED = Table("delayed", DelayedRow, key=("number",))
KEYS = Table("keys", KeyRow, unique=("topic", "key"))
CONTENTS = Table("contents", ContentRow, key=("id",))
TABLES: tuple[Table[Any], ...] = (
    *(META, TOPICS, TOPIC_SETTINGS, PIECES, SUBSCRIPTIONS, SETTINGS, HELD, LETTERS, DELAYED, KEYS, CONTENTS),
)


def another_contents(number: int) -> Table[ContentRow]:
    """Return the `number`-th table of contents, from 2 on; one is begun where a table is damaged (`contents.py`)."""
    return Table(f"{CONTENTS.name}_{number}", ContentRow, CONTENTS.key)
