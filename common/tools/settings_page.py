"""`python -m common.tools.settings_page`: print docs/settings.md from the table of settings."""

from __future__ import annotations

from dataclasses import fields

from common.config import BrokerSettings, FrontSettings, Settings, StartBrokersSettings
from common.setting_text import flag, shown, variable

_HEAD = """# Settings

Generated from `common/config.py` by `python -m common.tools.settings_page`. A flag takes precedence over the variable,
the variable over the `[fanmail]` table of the file named by `--config`, and that over the default. Sizes may be written
as `64K`, `64KB`, `64Ki` or `64KiB`, likewise with `M`, `G` and `T`, always powers of 1,024. Several values (addresses,
names, ids) are separated by commas, written as a TOML array, or given by repeating the flag. One file serves fronts and
brokers: settings of the other role are ignored, unknown ones are refused. Numbers in parentheses are the HTTP status of
requests beyond the limit.
"""


_TOPICS = """## Limits of topics

Brokers read them from the file named by `--topics`, by default the `--config` file. The first pattern that matches the
name of a topic counts; settings that it does not have are those above. `*` matches any text, `?` one character, `[abc]`
one of these.

```toml
[[topics]]
pattern = "logs.*"
max_messages = 100000
max_bytes = "64MiB"
max_age = 3600              # seconds; 0, the default: no maximum age
overflow = "drop-oldest"    # or "reject", the default
```
"""


def settings_page() -> str:
    """Return the page as Markdown."""
    parts = [_HEAD]
    for title, role, known in (
        ("Every process", Settings, ()),
        ("Brokers", BrokerSettings, fields(Settings)),
        ("Fronts", FrontSettings, fields(Settings)),
        ("`bin/start-brokers`, in addition", StartBrokersSettings, fields(BrokerSettings)),
    ):
        names = {item.name for item in known}
        rows = ["| flag | variable | unit | default | |", "|---|---|---|---|---|"]
        for item in fields(role):
            if item.name not in names:
                default = shown(item, item.default)
                cells = (f"`{flag(item.name)}`", f"`{variable(item.name)}`", item.metadata["unit"])
                rows.append(f"| {' | '.join(cells)} | {default} | {item.metadata['help']} |")
        parts.append(f"## {title}\n\n" + "\n".join(rows) + "\n")
    return "\n".join([*parts, _TOPICS])


if __name__ == "__main__":
    print(settings_page(), end="")
