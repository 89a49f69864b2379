"""Questions that are asked at the same time share an answer, but never an older one."""

import asyncio

import pytest

from control.store.base import StoreUnavailableError
from control.store.etcd.shared import SharedCall


class Asked:
    """Answers with the state of the moment, when it is told to."""

    def __init__(self) -> None:
        self.state, self.begun = 0, 0
        self.waiting: list[asyncio.Future[None]] = []

    async def __call__(self) -> int:
        self.begun += 1
        answer, go = self.state, asyncio.get_running_loop().create_future()
        self.waiting.append(go)
        await go
        return answer


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_many_at_once_share_one_question() -> None:
    asked = Asked()
    shared = SharedCall(asked)
    askers = [asyncio.create_task(shared.ask()) for _ in range(50)]
    await settle()
    asked.waiting.pop().set_result(None)
    assert await asyncio.gather(*askers) == [0] * 50
    assert asked.begun == 1


async def test_who_asks_while_a_question_is_under_way_gets_a_later_answer() -> None:
    asked = Asked()
    shared = SharedCall(asked)
    first = asyncio.create_task(shared.ask())
    await settle()
    asked.state = 1  # something has happened since, which those who ask now know of
    later = [asyncio.create_task(shared.ask()) for _ in range(3)]
    await settle()
    assert asked.begun == 1
    asked.waiting.pop().set_result(None)
    await settle()
    asked.waiting.pop().set_result(None)
    assert await first == 0
    assert await asyncio.gather(*later) == [1, 1, 1]
    assert asked.begun == 2


async def test_who_goes_away_leaves_the_answer_to_the_others() -> None:
    asked = Asked()
    shared = SharedCall(asked)
    gone, stays = (asyncio.create_task(shared.ask()) for _ in range(2))
    await settle()
    gone.cancel()
    await settle()
    asked.waiting.pop().set_result(None)
    assert await stays == 0


async def test_a_failure_is_everybodys_and_not_of_the_next() -> None:
    asked = Asked()
    shared = SharedCall(asked)
    askers = [asyncio.create_task(shared.ask()) for _ in range(2)]
    await settle()
    next_one = asyncio.create_task(shared.ask())
    await settle()
    asked.waiting.pop().set_exception(StoreUnavailableError("down"))
    for each in askers:
        with pytest.raises(StoreUnavailableError):
            await each
    await settle()
    asked.waiting.pop().set_result(None)
    assert await next_one == 0
