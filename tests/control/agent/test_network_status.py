"""The CNI plugins' STATUS is asked again after each change, also one during the question."""

import asyncio

from control.agent.network_status import NetworkStatus


async def test_a_change_during_the_question_is_asked_about_again():
    """It was lost: the node became Ready up to 30 s late."""
    told: list[str] = []
    asked = 0

    async def ask() -> str:
        nonlocal asked
        asked += 1
        answer = "no configuration" if asked == 1 else ""
        if asked == 1:
            status.wake()  # the configuration is written after the plugins were asked
        await asyncio.sleep(0)
        return answer

    status = NetworkStatus(ask, told.append)
    task = asyncio.create_task(status.run())
    for _ in range(20):  # turns of the loop, not time: nobody has to wait for the period
        await asyncio.sleep(0)
    assert told == ["no configuration", ""]
    assert status.problem == ""
    assert asked == 2
    status.wake()
    for _ in range(20):
        await asyncio.sleep(0)
    assert asked == 3
    assert told == ["no configuration", ""]
    task.cancel()


async def test_a_pod_that_begins_asks_again_only_about_a_problem():
    told: list[str] = []
    answers = ["not initialized", "", "gone"]

    async def ask() -> str:
        return answers.pop(0)

    status = NetworkStatus(ask, told.append)
    assert [await status.now() for _ in range(4)] == ["not initialized", "", "", ""]
    assert (told, answers) == (["not initialized", ""], ["gone"])
