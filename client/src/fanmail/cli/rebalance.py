"""`fanmail rebalance`: moves slots between running brokers, through the operations port of any front."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import reduce
from typing import Any

import click

from fanmail.admin import Admin
from fanmail.cli.exit_codes import FAILED
from fanmail.cli.formatting import format_number
from fanmail.cli.options import Server, json_option, ops_options
from fanmail.cli.output import Formats, print_json, print_rows, progress
from fanmail.errors import FanmailError
from fanmail.slots import PlannedMove

BROKER_COLUMNS = ("id", "status", "count", "topics", "messages", "bytes")
MOVE_COLUMNS = ("slot", "source", "to", "state", "records", "bytes", "reason")
GROUP_COLUMNS = ("source", "to", "count", "topics", "messages", "bytes")
FORMATS: Formats = {"bytes": format_number, "messages": format_number}
FIRST_POLL_S, LONGEST_POLL_S = 0.02, 0.5
ATTEMPTS, AGAIN_S = 3, 1.0
"""How often a move is tried, and the time between two attempts."""


@click.group("rebalance")
def rebalance() -> None:
    """Move slots, and the topics in them, between running brokers.

    A topic belongs to one of 1,024 slots, and each slot to one broker. Clients see a short delay and no error.
    """


def _choice(work: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option("--add", multiple=True, metavar="BROKER", help="Share the slots with this broker too."),
        click.option("--drain", multiple=True, metavar="BROKER", help="Leave this broker no slots."),
        click.option("--slots", default="", metavar="SLOTS", help="Move these slots, such as 0-99,105, with --to."),
        click.option("--to", metavar="BROKER", help="The broker that gets the slots of --slots."),
    )
    return reduce(lambda decorated, option: option(decorated), reversed(options), work)


@rebalance.command()
@_choice
@json_option
@ops_options
def plan(as_json: bool, server: Server, **choice: Any) -> None:
    """Show what run would move; without options, what spreads the slots over all brokers."""
    with server.admin() as admin:
        found = admin.slot_plan(**choice)
    print_rows(map(asdict, found.groups), as_json, GROUP_COLUMNS, FORMATS)


@rebalance.command()
@_choice
@json_option
@ops_options
def run(as_json: bool, server: Server, **choice: Any) -> None:
    """Move slots, one after the other. It can be interrupted at any moment, and run again. Exit code 1 if some stay."""
    moved, failed = 0, list[tuple[PlannedMove, str]]()
    with server.admin() as admin, progress("{task.completed} of {task.total} slots") as bar:
        moves = admin.slot_plan(**choice).moves
        task = bar.add_task("moving", total=len(moves))
        for move in moves:
            reason = _move(admin, move)
            if reason:
                failed.append((move, reason))
            else:
                moved += 1
            bar.advance(task)
    if as_json:
        print_json({"moved": moved, "failed": [asdict(move) | {"reason": reason} for move, reason in failed]})
    else:
        for move, reason in failed:
            click.echo(f"slot {move.slot} stays at {move.source}: {reason}", err=True)
        click.echo(f"{moved} of {len(moves)} slots moved")
    if failed:
        raise SystemExit(FAILED)


def _move(admin: Admin, move: PlannedMove) -> str:
    """Move one slot; return why it could not be moved."""
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(AGAIN_S)
        try:
            state = admin.move_slot(move.slot, move.to)
            reason = state.reason if state.state == "refused" else _follow(admin, move)
        except FanmailError as error:
            if error.code != "move-refused":
                raise
            reason = str(error)
        if not reason:
            return ""
    return reason


def _follow(admin: Admin, move: PlannedMove) -> str:
    """Wait for the end of a move; return why it was refused."""
    pause_s = FIRST_POLL_S
    while True:
        found = admin.slot_state(move.slot)
        if found.owner == move.to:
            return ""
        if found.move is None or found.move.state == "refused":
            return found.move.reason if found.move else "it was aborted"
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_POLL_S)


@rebalance.command()
@json_option
@ops_options
def status(as_json: bool, server: Server) -> None:
    """Show who owns how many slots, and what is on the move. Exit code 1 if a slot has no owner that answers."""
    with server.admin() as admin:
        found = admin.slots()
    if as_json:
        print_json(asdict(found))
    else:
        print_rows(map(asdict, found.brokers), False, BROKER_COLUMNS, FORMATS)
        if found.moves:
            print_rows(map(asdict, found.moves), False, MOVE_COLUMNS, FORMATS)
    if found.unowned:
        click.echo(f"no broker that answers owns slots {found.unowned}", err=True)
        raise SystemExit(FAILED)


@rebalance.command("pause")
@ops_options
def pause_moves(server: Server) -> None:
    """Begin no more moves until resume; moves under way go on."""
    with server.admin() as admin:
        admin.pause_moves()


@rebalance.command("resume")
@ops_options
def resume_moves(server: Server) -> None:
    """Begin moves again."""
    with server.admin() as admin:
        admin.resume_moves()


@rebalance.command()
@click.argument("slots", nargs=-1, type=click.IntRange(0, 1023), metavar="[SLOT]...")
@json_option
@ops_options
def abort(slots: tuple[int, ...], as_json: bool, server: Server) -> None:
    """End the moves that are under way, or those of some slots."""
    with server.admin() as admin:
        found = [move for move in admin.slots().moves if move.state != "refused" and (not slots or move.slot in slots)]
        ended = [admin.abort_move(move.slot) for move in found]
    print_rows(map(asdict, ended), as_json, MOVE_COLUMNS, FORMATS)
