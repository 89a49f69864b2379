"""A request that the agent does not fulfil."""


class Refusal(Exception):
    """An HTTP code, and a sentence for the one who asked, in kubelet's words where it has them."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
