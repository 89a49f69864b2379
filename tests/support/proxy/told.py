"""A reporter that remembers its reports."""

from proxy.model.values import Key


class Told:
    """Takes reports, which become no Events."""

    def __init__(self) -> None:
        self.node: list[tuple[str, str]] = []
        self.services: list[tuple[Key, str, str, str]] = []
        self.pods: list[tuple[Key, str, str, str]] = []

    def about_node(self, reason: str, message: str) -> None:
        self.node.append((reason, message))

    def about_service(self, key: Key, uid: str, reason: str, message: str) -> None:
        self.services.append((key, uid, reason, message))

    def about_pod(self, key: Key, uid: str, reason: str, message: str) -> None:
        self.pods.append((key, uid, reason, message))
