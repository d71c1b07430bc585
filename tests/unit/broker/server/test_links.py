"""What other brokers answer: nothing of it is taken for what it is not."""

from __future__ import annotations

from msgspec import Raw, msgpack

from broker.dispatch.links import Question
from broker.server.links import _answer, _Asked
from common.protocol.move_ops import Adopted
from common.protocol.ops import Op
from common.protocol.wire import Reply
from tests.support.table import table


def answered(code: str, result: object) -> Question:
    question = Question()
    _answer(_Asked(question, Op.ADOPT, 0), Reply(1, code, Raw(msgpack.encode(result))))
    return question


@table("result", [None, 7, [], ["x", 0], [-1, 0], [1, 2**63]])
def test_a_result_that_cannot_be_read_is_an_unknown_outcome(result: object) -> None:
    question = answered("", result)
    assert (question.done, question.result, question.lost) == (True, None, True)


def test_results_and_refusals_are_told_apart() -> None:
    assert answered("", [1, 2]).result == Adopted(1, 2)
    refused = answered("move-refused", "full")
    assert refused.error is not None
    assert (refused.error.code, refused.error.detail, refused.lost) == ("move-refused", "full", False)
