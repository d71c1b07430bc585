"""`bin/replica doctor`: finds settings of NATS, of the logs and of the candidates with which data can be lost."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from broker.errors import UnusableStoreError
from broker.replica.jetstream import api
from broker.replica.jetstream.health import info_of, problems_of
from broker.replica.jetstream.monitor import (
    Server,
    ask_monitor,
    monitor_of,
    problems_of_server,
    remarks_of_servers,
)
from broker.replica.jetstream.streams import Streams, ask
from broker.tools.candidates import Candidate, ask_all
from broker.tools.replica_frame import LOG_FLAGS, Frame, add_json, load_frame
from broker.tools.replica_logs import look_at_logs
from broker.tools.replica_spread import leaders_for, look_at_leaders
from common.command_line import About
from common.errors import StartError
from common.protocol import log_stats

HELP = "find wrong settings of the servers, the logs and the candidates"
ABOUT = About(
    "Find settings with which acknowledged messages can be lost: of every NATS server (asked at its monitoring port, "
    "which alone knows whether it syncs before it acknowledges), of each log, and of the candidates; those need not "
    "run. What it finds about syncing is noted at the logs, for the candidates; where these ports are on loopback, run "
    "it on each host, with its own. Exit code 1 where something is wrong.",
    ("--config cluster.toml --nats nats://h1:4222,nats://h2:4222,nats://h3:4222",),
)
FLAGS = ("ids", *LOG_FLAGS, "log_replicas", "max_body", "max_batch")


class Finding(NamedTuple):
    """One thing that was looked at."""

    about: str
    problems: tuple[str, ...]
    facts: str = ""
    """What is there, in words."""


def run(argv: Sequence[str]) -> int:
    """Print what is wrong."""
    frame = load_frame("doctor", argv, ABOUT, FLAGS, _options)
    said = ask_all(frame.cluster, frame.ids, frame.keys)
    remarks, findings = _look_at_postgres(frame) if frame.reach is None else _look_at_nats(frame, said)
    findings += [finding for each in frame.ids if (finding := look_at_candidates(each, said[each])).problems]
    problems = [f"{each.about}: {problem}" for each in findings for problem in each.problems]
    if frame.options.json:
        found = {"sound": not problems, "problems": problems, "remarks": remarks, "looked_at": findings_json(findings)}
        print(msgspec.json.encode(found).decode())
        return int(bool(problems))
    for each in findings:
        if not each.problems:
            print(f"{each.about}: {each.facts}")
    for text in (*(f"remark: {each}" for each in remarks), *(f"WRONG: {each}" for each in problems)):
        print(text)
    return int(bool(problems))


def _look_at_nats(frame: Frame, said: dict[str, list[Candidate]]) -> tuple[tuple[str, ...], list[Finding]]:
    servers, findings = look_at_servers(frame)
    findings += look_at_streams(frame)
    return (*remarks_of_servers(servers), *_note(frame, servers), *_look_at_leaders(frame, said)), findings


def _look_at_leaders(frame: Frame, said: dict[str, list[Candidate]]) -> list[str]:
    """Return whether some logs should be led by other servers; what else is wrong with them is found before."""
    try:
        logs = list(ask(frame.access, partial(look_at_leaders, frame, said)).values())
    except (StartError, UnusableStoreError):
        return []
    moved = [log.broker for log, leader in zip(logs, leaders_for(logs), strict=True) if leader != log.leader]
    return [f"bin/replica spread moves the leaders of {', '.join(moved)}"] if moved else []


def _look_at_postgres(frame: Frame) -> tuple[tuple[str, ...], list[Finding]]:
    findings = []
    for broker_id, (name, info, problem) in look_at_logs(frame).items():
        if info is None:
            findings.append(Finding(f"broker {broker_id}", (problem,)))
            continue
        facts = f"{info.replicas} copies of what is acknowledged, asked at {info.leader}"
        findings.append(Finding(f"broker {broker_id}, {name}", info.problems, facts))
    return ("whether the standbys of PostgreSQL run with fsync is not known here: SHOW fsync on each",), findings


def _options(parser: Any) -> None:
    add_json(parser)
    parser.add_argument(
        "--monitor",
        metavar="URLS",
        default="",
        help="monitoring ports of the NATS servers, comma-separated [default: http://HOST:8222 for each of --nats]",
    )


def findings_json(findings: list[Finding]) -> list[dict[str, Any]]:
    """Return findings as objects."""
    return [each._asdict() for each in findings]


def look_at_servers(frame: Frame) -> tuple[list[Server], list[Finding]]:
    """Return what the servers say, and what is wrong with each."""
    monitors = [each.strip() for each in frame.options.monitor.split(",") if each.strip()]
    servers, findings = [], []
    for monitor in dict.fromkeys(monitors or map(monitor_of, frame.access.urls)):
        if not monitor.startswith(("http://", "https://")):
            raise StartError(f"--monitor {monitor!r} must be http://host:port")
        try:
            server = ask_monitor(monitor)
        except (OSError, ValueError) as error:
            text = f"cannot be asked: {error}; whether this server syncs before it acknowledges is not known"
            findings.append(Finding(f"server {monitor}", (text,)))
            continue
        servers.append(server)
        facts = f"version {server.version}, syncs before it acknowledges"
        findings.append(Finding(f"server {server.server_name}", problems_of_server(server, frame.max_batch), facts))
    names = [each.server_name for each in servers]
    if len(set(names)) < len(names):
        findings.append(Finding("servers", ("--monitor names one server twice",)))
    if len(monitors or frame.access.urls) < frame.settings.log_replicas:
        findings.append(Finding("servers", (f"name all of at least {frame.settings.log_replicas}: --nats",)))
    return servers, findings


def _note(frame: Frame, servers: list[Server]) -> list[str]:
    """Note at each log which servers sync, for the candidates: they cannot ask. Return why that was not possible."""
    syncing = {each.server_name for each in servers if each.syncs}
    others = {each.server_name for each in servers} - syncing
    return list(dict.fromkeys(filter(None, (_note_at(frame, each, syncing, others) for each in frame.ids))))


def _note_at(frame: Frame, broker_id: str, syncing: set[str], others: set[str]) -> str:
    async def note(streams: Streams) -> None:
        await streams.prove(await streams.find(frame.cluster.name, broker_id), syncing, others)

    try:
        ask(frame.access, note)
    except UnusableStoreError:
        pass  # found, and named, before
    except StartError as error:
        return f"the candidates are not told what was found: {error}"
    return ""


def look_at_streams(frame: Frame) -> list[Finding]:
    """Return what is wrong with the log of each broker."""
    try:
        return ask(frame.access, partial(_look, frame))
    except StartError as error:
        return [Finding("logs", (str(error),))]


async def _look(frame: Frame, streams: Streams) -> list[Finding]:
    findings = []
    for broker_id in frame.ids:
        about = f"broker {broker_id}"
        try:
            name = await streams.find(frame.cluster.name, broker_id)
            findings.append(_of_log(frame, f"{about}, {name}", await streams.describe(name)))
        except UnusableStoreError as error:
            findings.append(Finding(about, (str(error),)))
        except api.RequestError as error:
            findings.append(Finding(about, (f"NATS: {error}",)))
    return findings


def _of_log(frame: Frame, about: str, described: api.Described) -> Finding:
    problems = list(problems_of(described.config, frame.settings.log_replicas))
    members = described.cluster
    if not members.leader and frame.settings.log_replicas > 1:
        problems.append("has no leader now")
    for peer in members.replicas:
        if peer.offline or not peer.current:
            problems.append(f"the copy on {peer.name} is {'offline' if peer.offline else 'behind'}")
    names = ", ".join(info_of(described, frame.settings.log_replicas, ()).placement)
    facts = f"{described.config.num_replicas} copies on {names}, led by {members.leader or 'no server'}"
    return Finding(about, tuple(problems), facts)


def look_at_candidates(broker_id: str, candidates: list[Candidate]) -> Finding:
    """Return what is wrong with the candidates of a broker, as far as they run and can be reached."""
    settings = {each.stats.get(log_stats.TOPICS) for each in candidates if each.state is not None}
    hosts = " and ".join(each.address.host for each in candidates)
    differ = f"the candidates on {hosts} have different settings of topics (--topics, --max-messages, --max-bytes)"
    return Finding(f"broker {broker_id}", (differ,) if len(settings) > 1 else ())
