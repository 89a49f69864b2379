"""Images that a CRI runtime pulls before a Pod asks for them."""

from control.runtime.base import ContainerRuntimeError
from control.runtime.images.preload import pull


class Registry:
    def __init__(self):
        self.asked, self.absent = [], {"broken"}

    async def pull(self, reference, _credentials, _pod):
        self.asked.append(reference)
        if reference in self.absent:
            raise ContainerRuntimeError(f"{reference}: not found")


async def test_one_that_fails_does_not_keep_the_others(caplog):
    images, done, said = Registry(), {}, {}
    wanted = [("broken", ""), ("app", ".data/1")]
    for _ in range(3):
        await pull(images, wanted, done, said)
    assert images.asked == ["broken", "app", "broken", "broken"]
    assert [it.getMessage() for it in caplog.records if it.levelname == "WARNING"] == [
        "image broken: broken: not found; trying again every second"
    ]
    images.absent.clear()
    images.asked.clear()
    await pull(images, [("broken", ""), ("app", ".data/2")], done, said)
    assert images.asked == ["broken", "app"]  # the name has another content
