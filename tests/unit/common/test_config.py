"""Settings: flags before variables before the file before defaults; one clear line for what cannot be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import pytest

from common.config import ROLES, BrokerSettings, FrontSettings, Settings, StartBrokersSettings
from common.config_sources import as_flags, describe, load
from common.errors import StartError
from common.setting_groups import grouped
from common.setting_text import as_text, flag, placeholder, variable
from common.units import GIB, KIB, MIB
from tests.support.table import table

pytestmark = pytest.mark.usefixtures("no_settings")

ALL = [(role, item) for role in ROLES for item in fields(role)]
ALL_IDS = [f"{role.__name__}.{item.name}" for role, item in ALL]


def settings(role: type[Settings], *argv: str) -> Any:
    return load(role, "prog", argv)[0]


def refusal(role: type[Settings], *argv: str) -> str:
    with pytest.raises(StartError) as caught:
        load(role, "prog", argv)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    return text


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], str]:
    """Writes a configuration file and gives its flag."""

    def write(text: str) -> str:
        path = tmp_path / "fanmail.toml"
        path.write_text(text)
        return f"--config={path}"

    return write


def other_values(item: Field[Any]) -> list[str]:
    """Texts that a setting takes and that are not its default."""
    if item.name == "config":
        return []
    candidates = [
        "1",
        "7",
        "77",
        "300",
        "2MiB",
        "on",
        "off",
        "json",
        "sqlite",
        "debug",
        "word",
        "a,b",
        "nats://h1:4222",
    ]
    good = []
    for text in candidates:
        try:
            value = item.metadata["parse"](text)
        except ValueError:
            continue
        if value != item.default:
            good.append(text)
    assert len(good) >= 1, item.name
    return good


# --- precedence

CASES = [
    ("port", "8001", "8002", "8003", 8001, 8002, 8003, 8100),
    ("max_body", "1KiB", "2KiB", "3KiB", KIB, 2 * KIB, 3 * KIB, MIB),
    ("broker_timeout", "1.5", "2", "2.5", 1.5, 2.0, 2.5, 5.0),
    ("host", "0.0.0.0", "127.0.0.2,::1", "[::1]", ("0.0.0.0",), ("127.0.0.2", "::1"), ("::1",), ("127.0.0.1",)),
    ("log_level", "debug", "error", "warning", "debug", "error", "warning", "info"),
]


@pytest.mark.parametrize(("name", "flagged", "env", "filed", "first", "second", "third", "last"), CASES)
def test_a_flag_comes_before_a_variable_before_the_file_before_the_default(
    name: str,
    flagged: str,
    env: str,
    filed: str,
    first: Any,
    second: Any,
    third: Any,
    last: Any,
    file: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert getattr(settings(FrontSettings), name) == last
    from_file = file(f'[fanmail]\n{name} = "{filed}"\n')
    assert getattr(settings(FrontSettings, from_file), name) == third
    monkeypatch.setenv(variable(name), env)
    assert getattr(settings(FrontSettings, from_file), name) == second
    assert getattr(settings(FrontSettings), name) == second
    for argv in ([f"{flag(name)}={flagged}"], [flag(name), flagged]):
        assert getattr(settings(FrontSettings, from_file, *argv), name) == first


@pytest.mark.parametrize(
    ("name", "default"), [("access_log", True), ("insecure", False)], ids=["on by default", "off by default"]
)
def test_a_switch_has_the_same_precedence(
    name: str, default: bool, file: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def value(*argv: str) -> bool:
        seen: bool = getattr(settings(FrontSettings, *argv), name)
        return seen

    assert value() is default
    for text in ("true", '"on"'):
        assert value(file(f"[fanmail]\n{name} = {text}\n")) is True
    on_file = file(f"[fanmail]\n{name} = true\n")
    monkeypatch.setenv(variable(name), "off")
    assert value(on_file) is value() is False
    assert value(on_file, flag(name)) is True
    assert value(on_file, f"{flag(name)}=on") is True
    for text in ("false", '"off"'):
        off_file = file(f"[fanmail]\n{name} = {text}\n")
        monkeypatch.setenv(variable(name), "true")
        assert value(off_file) is True
        assert value(off_file, f"{flag(name)}=off") is False
        monkeypatch.delenv(variable(name))
        assert value(off_file) is False


def test_numbers_of_the_file_need_no_quotes(file: Callable[[str], str]) -> None:
    seen = settings(FrontSettings, file("[fanmail]\nport = 9000\nmax-body = 2048\ndrain_timeout = 0.5\n"))
    assert (seen.port, seen.max_body, seen.drain_timeout) == (9000, 2048, 0.5)


def test_the_file_may_be_named_by_a_variable(file: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANMAIL_CONFIG", file("[fanmail]\nport = 9000\n").removeprefix("--config="))
    assert settings(FrontSettings).port == 9000


@table(
    ("text", "value"),
    [
        ("0", None),
        ("1", 1),
        ("65536", 65536),
        ("64KiB", 64 * KIB),
        ("1mib", MIB),
        ("1 MiB", MIB),
        ("64B", 64),
        *((text, MIB) for text in ("1M", "1MB", "1Mi", "1m", "1024K")),
    ],
)
def test_sizes_are_bytes_or_have_a_binary_unit(text: str, value: int | None) -> None:
    if value is None:
        assert "--max-body" in refusal(FrontSettings, f"--max-body={text}")
    else:
        assert settings(FrontSettings, f"--max-body={text}").max_body == value


def test_a_gibibyte_is_a_gibibyte() -> None:
    assert settings(BrokerSettings, "--memory=2GiB").memory == 2 * GIB


def test_the_last_of_two_flags_counts() -> None:
    assert settings(FrontSettings, "--port=1", "--port=2").port == 2


# --- what cannot be used


@table(
    ("argv", "text"),
    [
        (["--port=x"], "--port 'x' is not a number"),
        (["--port=80.5"], "--port '80.5' is not a number"),
        (["--port="], "--port '' is not a number"),
        (["--port=65536"], "--port '65536' must be from 0 to 65535"),
        (["--port=-1"], "--port '-1' must be from 0 to 65535"),
        (["--broker-timeout=soon"], "--broker-timeout 'soon' is not a number"),
        (["--broker-timeout=nan"], "--broker-timeout 'nan' must be from 0.1 to 600"),
        (["--broker-timeout=inf"], "--broker-timeout 'inf' must be from 0.1 to 600"),
        (["--max-body=1X"], "--max-body '1X' is not a size such as 65536, 64K, 512MiB or 2G"),
        (["--max-body=1.5MiB"], "--max-body '1.5MiB' is not a size such as 65536, 64K, 512MiB or 2G"),
        (["--max-body=-1"], "--max-body '-1' is not a size such as 65536, 64K, 512MiB or 2G"),
        (["--insecure=yes"], "--insecure 'yes' must be on or off"),
        (["--access-log="], "--access-log '' must be on or off"),
        (["--log-format=xml"], "--log-format 'xml' must be one of auto, json, text"),
        (["--port"], "argument --port: expected one argument"),
        (["--prot=1"], "unknown argument '--prot=1': did you mean --port?"),
        (["--por=1"], "unknown argument '--por=1': did you mean --port?"),
        (["--prot", "8600"], "unknown argument '--prot': did you mean --port?"),
        (["--xyzzy"], "unknown argument '--xyzzy' (--help lists them)"),
        (["8100"], "unknown argument '8100' (--help lists them)"),
    ],
)
def test_an_error_is_one_line_that_names_the_flag(argv: list[str], text: str) -> None:
    assert refusal(FrontSettings, *argv) == text


def test_an_error_in_a_variable_or_the_file_names_the_setting_too(
    file: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = "--port 'many' is not a number"
    assert refusal(FrontSettings, file('[fanmail]\nport = "many"\n')) == expected
    monkeypatch.setenv("FANMAIL_PORT", "many")
    assert refusal(FrontSettings) == expected
    assert settings(FrontSettings, "--port=1").port == 1, "what is overridden is not looked at"


def test_a_bound_is_shown_in_full() -> None:
    assert refusal(FrontSettings, "--max-body=65MiB") == "--max-body '65MiB' must be from 1 to 64MiB"


@table(("role", "item"), ALL)
def test_every_setting_that_is_checked_names_its_flag(role: type[Settings], item: Field[Any]) -> None:
    try:
        item.metadata["parse"]("\x01 neither a word nor a number")
    except ValueError:
        assert flag(item.name) in refusal(role, f"{flag(item.name)}=\x01 neither a word nor a number")


@pytest.mark.parametrize("key", ["prot", "no-such", "config", "ports"])
def test_an_unknown_key_in_the_file_is_refused(key: str, file: Callable[[str], str]) -> None:
    text = refusal(FrontSettings, file(f'[fanmail]\n{key} = "1"\n'))
    assert f"fanmail.toml: unknown setting '{key}' in [fanmail]" in text


@pytest.mark.parametrize("role", ROLES)
def test_one_file_serves_all_roles(role: type[Settings], file: Callable[[str], str]) -> None:
    text = '[fanmail]\nport = 9000\nmemory = "2GiB"\nlog_level = "debug"\n'
    text += '[[brokers]]\nid = "b0"\n[other]\nx = 1\n'
    assert settings(role, file(text)).log_level == "debug"


def test_a_key_of_another_role_is_not_even_parsed(file: Callable[[str], str]) -> None:
    assert settings(BrokerSettings, file('[fanmail]\nport = "nonsense"\n')).id == "b0"


def test_a_file_that_cannot_be_read_is_named(file: Callable[[str], str], tmp_path: Path) -> None:
    assert str(tmp_path / "none.toml") in refusal(FrontSettings, f"--config={tmp_path}/none.toml")
    assert "fanmail.toml: not TOML: " in refusal(FrontSettings, file("[fanmail"))


def test_a_file_of_another_shape_says_why(file: Callable[[str], str]) -> None:
    assert "fanmail.toml" in refusal(FrontSettings, file("fanmail = 3\n"))


# --- passed on to other processes


@table("role", ROLES)
def test_settings_passed_on_are_read_back_the_same(role: type[Settings]) -> None:
    before = settings(role)
    assert settings(role, *as_flags(before, role)) == before
    argv = [f"{flag(item.name)}={other_values(item)[0]}" for item in fields(role) if item.name not in ("config", "ids")]
    before = settings(role, *argv)
    for item in fields(role):
        if item.name not in ("config", "ids"):
            assert getattr(before, item.name) != item.default
    assert settings(role, *as_flags(before, role)) == before


def test_a_list_passed_on_is_read_back_the_same() -> None:
    before = settings(StartBrokersSettings, "--ids=a,b")
    assert before.ids == ("a", "b")
    assert settings(StartBrokersSettings, *as_flags(before, StartBrokersSettings)) == before


def test_a_list_of_the_file_is_a_list(file: Callable[[str], str]) -> None:
    assert settings(StartBrokersSettings, file('[fanmail]\nids = ["a", "b"]\n')).ids == ("a", "b")


def test_a_flag_of_a_list_may_be_given_several_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANMAIL_HOST", "10.0.0.1")
    assert settings(FrontSettings, "--host=127.0.0.1", "--host", "[::1], 10.0.0.7").host == (
        "127.0.0.1",
        "::1",
        "10.0.0.7",
    )


@table("text", ["https://mail.example", "mail.example:8100", "*.example", "mail example", "mail..x"])
def test_allowed_hosts_are_names_and_nothing_else(text: str) -> None:
    assert "--allowed-hosts" in refusal(FrontSettings, f"--allowed-hosts={text}")
    assert settings(FrontSettings, "--allowed-hosts=mail.example,*").allowed_hosts == ("mail.example", "*")


def test_no_address_is_none_to_listen_on() -> None:
    assert refusal(FrontSettings, "--host=,") == "--host ',' must name an address, such as 127.0.0.1 or ::"


def test_a_flag_that_says_the_default_comes_before_a_variable_in_the_child_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FANMAIL_MAX_BODY", "2MiB")
    parent = settings(StartBrokersSettings, "--max-body=1MiB")
    assert parent.max_body == MIB
    child = settings(BrokerSettings, *as_flags(parent, BrokerSettings))
    assert child.max_body == MIB


def test_some_settings_can_be_changed_on_the_way() -> None:
    parent = settings(StartBrokersSettings, "--max-body=7", "--ids=x")
    argv = as_flags(parent, BrokerSettings, id="b7", config=Path("/etc/fanmail.toml"))
    assert "--id=b7" in argv
    assert "--config=/etc/fanmail.toml" in argv
    assert "--max-body=7" in argv
    assert not any(each.startswith("--ids") for each in argv), "a broker does not know it"


def test_the_run_directory_has_a_place_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert settings(BrokerSettings).run_dir == "/run/user/7/fanmail"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert Path(settings(BrokerSettings).run_dir).name.startswith("fanmail-")
    assert settings(BrokerSettings, "--run-dir=here").run_dir == "here"


# --- help


@table(("role", "item"), ALL)
def test_the_help_of_every_setting_names_its_default_unit_and_variable(role: type[Settings], item: Field[Any]) -> None:
    text = describe(item).replace("%%", "%")
    facts = text.rpartition(" [")[2].removesuffix("]")
    assert text.startswith(item.metadata["help"])
    assert item.metadata["help"]
    assert variable(item.name) in facts.split(", ")
    if item.metadata["unit"] not in ("", "bytes"):
        assert item.metadata["unit"] in (*facts.split(", "), placeholder(item).lower())
    if isinstance(item.default, bool):
        assert f"default {'on' if item.default else 'off'}" in facts
    elif item.default in ("", ()):
        assert "default" not in facts
    else:
        (default,) = [each.removeprefix("default ") for each in facts.split(", ") if each.startswith("default ")]
        assert item.metadata["parse"](default) == item.default


def test_sizes_and_choices_are_shown_as_they_are_written() -> None:
    items = {item.name: item for _, item in ALL}
    assert "default 1GiB" in describe(items["memory"])
    assert "default 30," in describe(items["max_wait"])
    assert placeholder(items["memory"]) == "SIZE"
    assert placeholder(items["log_format"]) == "auto|json|text"
    assert placeholder(items["insecure"]) == "on|off"


def test_every_group_has_settings_and_those_of_a_group_have_its_nature() -> None:
    for role in (BrokerSettings, FrontSettings):
        groups = {group: {item.name for item in items} for group, items in grouped(fields(role)).items()}
        assert {"run_dir", "config"} <= groups["network"]
        assert {"max_body", "max_batch"} <= groups["limits"]
        assert "start_timeout" in groups["timeouts"]
        assert {"log_level", "log_format"} <= groups["logs"]
        assert not [item.name for item in grouped(fields(role))["limits"] if item.metadata["unit"] in ("", "path")]


@pytest.mark.parametrize("role", ROLES)
def test_help_is_printed_and_lists_every_flag(role: type[Settings], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        load(role, "prog", ["--help"])
    assert caught.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for item in fields(role):
        assert flag(item.name) in shown
    assert (role.__doc__ or "").split("\n")[0] in shown


@table(("role", "item"), ALL)
def test_every_default_is_one_that_could_be_given(role: type[Settings], item: Field[Any]) -> None:
    if item.default in ("", ()):
        return
    text = as_text(item.default)
    assert item.metadata["parse"](text) == item.default


def test_a_setting_of_one_name_is_parsed_alike_in_every_role() -> None:
    roles: dict[str, set[str]] = {}
    for _, item in ALL:
        roles.setdefault(item.name, set()).add(item.metadata["unit"])
    assert {name: units for name, units in roles.items() if len(units) > 1} == {}


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        settings(FrontSettings).port = 1
