"""`python -m common.tools.settings_page`: prints docs/settings.md from the table of settings."""

from __future__ import annotations

from dataclasses import fields

from common.config import BrokerSettings, FrontSettings, Settings, StartBrokersSettings, as_text, flag, variable

_HEAD = """# Settings

Made from `common/config.py` by `python -m common.tools.settings_page`. Flags come before variables, those before the
`[fanmail]` table of the file named by `--config`, that before the default. Sizes may be written `64KiB`, `1MiB`,
`2GiB`. Several values (addresses, names, ids) are written with commas, as a TOML array, or by giving the flag again.
One file serves fronts and brokers: what belongs to the other is passed over, what is unknown is refused.
"""


_TOPICS = """## Ceilings of topics

In the file named by `--topics`, or else by `--config`, for brokers. The first pattern that fits a topic's name
counts; what it does not name is as the settings above say. `*` is any text, `?` one character, `[abc]` one of them.

```toml
[[topics]]
pattern = "logs.*"
max_messages = 100000
max_bytes = "64MiB"
max_age = 3600              # seconds; 0, the default: messages do not get too old
overflow = "drop-oldest"    # or "reject", the default
```
"""


def settings_page() -> str:
    """The page as Markdown."""
    parts = [_HEAD]
    for title, role, known in (
        ("Every process", Settings, ()),
        ("Brokers", BrokerSettings, fields(Settings)),
        ("Fronts", FrontSettings, fields(Settings)),
        ("`bin/start-brokers` besides", StartBrokersSettings, fields(BrokerSettings)),
    ):
        names = {item.name for item in known}
        rows = ["| flag | variable | unit | default | |", "|---|---|---|---|---|"]
        for item in fields(role):
            if item.name not in names:
                default = as_text(item.default)
                cells = (f"`{flag(item.name)}`", f"`{variable(item.name)}`", item.metadata["unit"])
                rows.append(f"| {' | '.join(cells)} | {default} | {item.metadata['help']} |")
        parts.append(f"## {title}\n\n" + "\n".join(rows) + "\n")
    return "\n".join([*parts, _TOPICS])


if __name__ == "__main__":
    print(settings_page(), end="")
