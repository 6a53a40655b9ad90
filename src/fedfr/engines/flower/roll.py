"""Which node speaks for which client: nodes come and go under numbers of their own, a client keeps its id."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from fedfr.engines.flower.post import Letter, Lost, Post
from fedfr.engines.flower.wire import SMALL, question_records, read_hello
from fedfr.errors import FedfrError
from fedfr.federation.messages import Failure, Hello

__all__ = ["Roll"]

HELLO = "query.hello"


class Roll:
    """Asks every node that appears who it is, once, and again when another one claims to be the same.

    ``agreement`` and ``public``: fingerprints that a site must answer with; an empty ``public`` asks for no public
    faces. ``seconds``: how long a node has for its answer. ``note`` is told of every node that cannot take part.
    ``owners``: which client each node's key is registered for, read anew at every call; a node that claims to be
    another is no client's.
    """

    def __init__(
        self,
        post: Post,
        clients: Collection[str],
        agreement: str,
        public: str,
        *,
        seconds: float,
        note: Callable[[str], None],
        owners: Callable[[], Mapping[int, str]] | None = None,
    ) -> None:
        self._post = post
        self._clients = frozenset(clients)
        self._agreement = agreement
        self._public = public
        self._seconds = seconds
        self._note = note
        self._owners = owners
        self._known: dict[int, Hello] = {}
        self._useless: set[int] = set()
        self._said: set[str] = set()

    def call(self, wanted: Sequence[str], patience: float, pause: float = 2.0) -> dict[str, int | str]:
        """The node of every client wanted, or why it cannot take part.

        Waits up to ``patience`` seconds for all of them to be there and to fit: a site reads its files anew for every
        message, so that it may be mended meanwhile. Nodes that are there are asked in any case.
        """
        clock = self._post.clock
        self._useless.clear()
        ends = clock.monotonic() + patience
        while True:
            here, owners = self._post.nodes(), None if self._owners is None else self._owners()
            # A key may have been taken away since.
            rightful = here if owners is None else {node for node in here if owners.get(node)}
            self._known = {node: hello for node, hello in self._fitting().items() if node in rightful}
            self._useless &= here
            self._ask(here - self._known.keys() - self._useless)
            twice = self._claimed_twice()
            if twice:
                # The older one may be gone without Flower having noticed: whoever is alive says so.
                for node in twice:
                    del self._known[node]
                self._ask(twice)
            found = {client: self._find(client) for client in wanted}
            if all(isinstance(node, int) for node in found.values()) or clock.monotonic() >= ends:
                return {client: "its site is not connected" if node is None else node for client, node in found.items()}
            # A question starts a process at the site, and whoever is there and does not fit is not mended in seconds.
            asked_again = here - self._fitting().keys() - self._useless or twice
            clock.sleep(5 * pause if asked_again else pause)

    def _fitting(self) -> dict[int, Hello]:
        return {node: hello for node, hello in self._known.items() if self._misfit(hello) is None}

    def _ask(self, nodes: Iterable[int]) -> None:
        question = question_records(self._agreement)
        letters = {str(node): Letter(node, HELLO, question) for node in sorted(nodes)}
        for name, answer in self._post.ask(letters, self._seconds, "hello", SMALL):
            node = int(name)
            if isinstance(answer, Lost):
                # Like one that cannot say, it is asked again: it may be at work still, or its agreement on the way.
                self._say(f"node {node} has not said which client it is: {answer.reason}")
                continue
            try:
                hello = read_hello(answer, f"node {node}")
                if isinstance(hello, Failure):
                    self._say(f"node {node} cannot say which client it is: {hello.reason}")
                    continue
                if hello.client not in self._clients:
                    raise FedfrError(f"node {node} speaks for {hello.client!r}, who is no client of this run")
                if self._owners is not None and (owner := self._owners().get(node)) != hello.client:
                    whose = f"the key of {owner!r}" if owner else "a key of nobody's"
                    raise FedfrError(f"node {node} speaks for {hello.client!r} and has {whose}; it is not heard")
            except FedfrError as error:
                self._useless.add(node)
                self._say(str(error))
                continue
            self._known[node] = hello

    def _claimed_twice(self) -> set[int]:
        return {node for client in self._clients if len(nodes := self._nodes_of(client)) > 1 for node in nodes}

    def _nodes_of(self, client: str) -> list[int]:
        return sorted(node for node, hello in self._known.items() if hello.client == client)

    def _find(self, client: str) -> int | str | None:
        """The client's node, why it is none, or None when nobody speaks for the client."""
        nodes = self._nodes_of(client)
        if not nodes:
            return None
        if len(nodes) > 1:
            return f"nodes {' and '.join(map(str, nodes))} both speak for it; stop one of them"
        return self._misfit(self._known[nodes[0]]) or nodes[0]

    def _misfit(self, hello: Hello) -> str | None:
        """Why this site cannot take part."""
        if hello.agreement != self._agreement:
            there, here = _short(hello.agreement), _short(self._agreement)
            return f"its site has agreement {there}, this run has {here}; give it this run's file"
        if self._public and not hello.public:
            return "its site has no public faces, which the method needs; give it the public set"
        if self._public and hello.public != self._public:
            there, here = _short(hello.public), _short(self._public)
            return f"its site has other public faces ({there}, this run's are {here}); give it the public set"
        return None

    def _say(self, text: str) -> None:
        """Once each, however often it is found."""
        if text not in self._said:
            self._said.add(text)
            self._note(text)


def _short(fingerprint: str) -> str:
    return fingerprint[:12] or "none"
