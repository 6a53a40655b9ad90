"""Which node speaks for which client: nodes come and go under numbers of their own, a client keeps its id."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet

from flwr.app import RecordDict

from fedfr.core.errors import FedfrError
from fedfr.engines.flower.requests import LostReply, NodeRequest, NodeRequests
from fedfr.engines.flower.site_state import (
    ABSENT,
    ASKED,
    BUSY,
    OTHER_AGREEMENT,
    OTHER_FACES,
    READY,
    SILENT,
    TWICE,
    UNABLE,
    Standing,
    Watch,
    duration,
)
from fedfr.engines.flower.wire import SMALL, question_records, read_hello
from fedfr.federation.messages import Failure, Hello

__all__ = ["Busy", "NodeRegistry", "Owners"]

HELLO = "query.hello"
KEPT = 3600.0
"""Seconds for which the SuperLink keeps a question: a site on a busy machine answers late, and its answer counts."""

Owners = Callable[[], Mapping[int, str]]
OwnerOf = Mapping[int, str] | None
Busy = Callable[[], Mapping[str, str]]


class NodeRegistry:
    """Asks every node that appears who it is, once, and again when another one claims to be the same.

    ``agreement`` and ``public``: fingerprints that a site must answer with; an empty ``public`` asks for no public
    faces. ``seconds``: how long an answer is waited for before the round goes on without it; one that comes later
    counts from then on, and a silent node is asked again after twice that time, four times and so on. ``note`` is told
    of every node that cannot take part, ``watch`` of every client. ``owners``: which client each node's key is
    registered for, read anew at every call; a node that claims to be another is no client's. ``busy``: what sites are
    known to be at work on for other runs, by client; waiting for them does not count, up to ``most_busy`` seconds.
    """

    def __init__(
        self,
        post: NodeRequests,
        clients: Collection[str],
        agreement: str,
        public: str,
        *,
        seconds: float,
        note: Callable[[str], None],
        owners: Owners | None = None,
        busy: Busy = dict,
        most_busy: float = 0.0,
        watch: Watch = lambda client, standing: None,
    ) -> None:
        self._post = post
        self._clients = frozenset(clients)
        self._agreement = agreement
        self._public = public
        self._seconds = seconds
        self._note = note
        self._owners = owners
        self._busy = busy
        self._most_busy = most_busy
        self._watch = watch
        self._known: dict[int, Hello] = {}
        self._useless: set[int] = set()
        self._said: set[str] = set()
        # Questions without an answer yet: by message id, the node as a name.
        self._open: dict[str, str] = {}
        # By node: when it was asked first and last since it last answered, and how long that question may take.
        self._asked: dict[int, tuple[float, float, float]] = {}
        # By node, the state and the reason of what it said last, where that keeps it away.
        self._why: dict[int, tuple[str, str]] = {}
        self._since: dict[str, tuple[str, float]] = {}

    def call(self, wanted: Sequence[str], patience: float, pause: float = 2.0) -> dict[str, int | str]:
        """The node of every client wanted, or why it cannot take part.

        Waits up to ``patience`` seconds for all of them to be there and to fit: a site reads its files anew for every
        message, so that it may be mended meanwhile. Time in which one of them is busy with another run is not counted.
        Nodes that are there are asked in any case.
        """
        clock = self._post.clock
        self._useless.clear()
        begun = clock.monotonic()
        ends = begun + patience
        while True:
            here, owners = self._post.nodes(), None if self._owners is None else self._owners()
            # A key may have been taken away since.
            rightful = here if owners is None else {node for node in here if owners.get(node)}
            self._known = {node: hello for node, hello in self._fitting().items() if node in rightful}
            self._forget(here)
            self._ask(here - self._known.keys() - self._useless, here, owners)
            twice = self._claimed_twice()
            if twice:
                # The older one may be gone without Flower having noticed: whoever is alive says so.
                for node in twice:
                    del self._known[node]
                self._ask(twice, here, owners, anew=True)
            found = {client: self._standing(client, here, owners) for client in wanted}
            now = clock.monotonic()
            if patience and now < begun + self._most_busy and any(each.state == BUSY for each in found.values()):
                ends = now + patience
            nodes = {client: self._find(client) for client in wanted}
            if all(isinstance(node, int) for node in nodes.values()) or now >= ends:
                return {
                    client: node if isinstance(node, int) else found[client].reason for client, node in nodes.items()
                }
            # A question starts a process at the site, and whoever is there and does not fit is not mended in seconds.
            asked_again = here - self._fitting().keys() - self._useless or twice
            clock.sleep(5 * pause if asked_again else pause)

    def _fitting(self) -> dict[int, Hello]:
        return {node: hello for node, hello in self._known.items() if self._misfit(hello) is None}

    def _forget(self, here: AbstractSet[int]) -> None:
        """Whoever is gone is asked anew when it comes back."""
        self._useless &= here
        for kept in (self._asked, self._why):
            for node in [*kept.keys() - here]:
                del kept[node]
        self._open = {message: name for message, name in self._open.items() if int(name) in here}

    def _ask(
        self, nodes: AbstractSet[int], here: AbstractSet[int], owners: Mapping[int, str] | None, *, anew: bool = False
    ) -> None:
        """Ask those whose time has come, and wait for the first answer of each; hear what others answer late."""
        clock = self._post.clock
        now, pending = clock.monotonic(), {int(name) for name in self._open.values()}
        waited: set[int] = set()
        letters: dict[str, NodeRequest] = {}
        question = question_records(self._agreement)
        for node in sorted(nodes):
            first, last, limit = self._asked.get(node, (now, now, self._seconds))
            if not anew and node in pending and now < last + limit:
                continue
            if anew or node not in pending:
                waited.add(node)
                first, limit = now, self._seconds
            else:
                limit *= 2
            self._asked[node] = first, now, limit
            letters[str(node)] = NodeRequest(node, HELLO, question)
        sent = self._post.send(letters, KEPT, "hello")
        for node in sorted({int(name) for name in letters} - {int(name) for name in sent.values()}):
            self._hear(node, LostReply("nothing could be sent to its node"))
        self._open |= sent
        if waited and owners is not None:
            for client in self._clients:
                self._standing(client, here, owners)
        while True:
            for name, answer in self._post.collect(self._open, now + KEPT, SMALL, "hello"):
                self._hear(int(name), answer)
            waited &= {int(name) for name in self._open.values()}
            left = now + self._seconds - clock.monotonic()
            if not waited or left <= 0:
                break
            clock.sleep(min(self._post.pause, left))
        for node in sorted(waited):
            # It may be at work still, and its answer counts whenever it comes.
            self._say(f"node {node} has not said which client it is: no answer within {self._seconds:g} s")

    def _hear(self, node: int, answer: RecordDict | LostReply) -> None:
        if isinstance(answer, LostReply):
            # Like one that cannot say, it is asked again.
            self._why[node] = _unable(answer.reason)
            self._say(f"node {node} has not said which client it is: {answer.reason}")
            return
        try:
            hello = read_hello(answer, f"node {node}")
            if isinstance(hello, Failure):
                self._why[node] = _unable(hello.reason)
                self._say(f"node {node} cannot say which client it is: {hello.reason}")
                return
            if hello.client not in self._clients:
                raise FedfrError(f"node {node} speaks for {hello.client!r}, who is no client of this run")
            if self._owners is not None and (owner := self._owners().get(node)) != hello.client:
                whose = f"the key of {owner!r}" if owner else "a key of nobody's"
                raise FedfrError(f"node {node} speaks for {hello.client!r} and has {whose}; it is not heard")
        except FedfrError as error:
            self._useless.add(node)
            self._why[node] = _unable(str(error))
            self._say(str(error))
            return
        self._why.pop(node, None)
        if (misfit := self._misfit(hello)) is not None:
            self._why[node] = misfit
        self._known[node] = hello

    def _claimed_twice(self) -> set[int]:
        return {node for client in self._clients if len(nodes := self._nodes_of(client)) > 1 for node in nodes}

    def _nodes_of(self, client: str) -> list[int]:
        return sorted(node for node, hello in self._known.items() if hello.client == client)

    def _find(self, client: str) -> int | None:
        """The client's node, or None when none can take part for it."""
        nodes = self._nodes_of(client)
        return nodes[0] if len(nodes) == 1 and self._misfit(self._known[nodes[0]]) is None else None

    def _standing(self, client: str, here: AbstractSet[int], owners: OwnerOf) -> Standing:
        """What is known of a client's site now; ``watch`` is told."""
        state, reason = self._look(client, here, owners)
        now = self._post.clock.monotonic()
        if self._since.get(client, ("", now))[0] != state:
            self._since[client] = state, now
        lasted = now - self._since.setdefault(client, (state, now))[1]
        # What a site says itself is not taken apart.
        found, _, remedy = (reason, "", "") if state == UNABLE else reason.partition("; ")
        told = f"{found} (for {duration(lasted)})" if lasted >= 1 and state != READY else found
        standing = Standing(state, f"{told}; {remedy}" if remedy else told)
        self._watch(client, standing)
        return standing

    def _look(self, client: str, here: AbstractSet[int], owners: OwnerOf) -> tuple[str, str]:
        nodes = self._nodes_of(client)
        if len(nodes) > 1:
            return TWICE, f"nodes {' and '.join(map(str, nodes))} both speak for it; stop one of them"
        if nodes:
            return self._misfit(self._known[nodes[0]]) or (READY, "")
        start = "start `fedfr site run` there; `fedfr site check` says what is missing"
        connected = sorted(node for node in here if owners is not None and owners.get(node) == client)
        if not connected:
            mute = len(here - self._known.keys()) if owners is None else 0
            more = f", unless it is one of {mute} nodes that have not said who they are" if mute else ""
            return ABSENT, f"its site is not connected{more}; {start}"
        return self._unknown(client, connected[0])

    def _unknown(self, client: str, node: int) -> tuple[str, str]:
        """How the site stands whose node, by its key, this is, and that has not said yet which client it is."""
        waits = str(node) in self._open.values()
        late = self._post.clock.monotonic() >= self._asked.get(node, (0.0, 0.0, 0.0))[0] + self._seconds
        if node in self._why and not (waits and late):
            # Asked again, it may say the same.
            return self._why[node]
        if (work := self._busy().get(client)) is not None:
            return BUSY, f"its site is connected and busy with {work}; it takes part when that has ended"
        if waits and not late:
            return ASKED, "its site is connected and was asked whether it fits"
        return SILENT, "its site is connected and silent; look at its log, and at the load of its machine"

    def _misfit(self, hello: Hello) -> tuple[str, str] | None:
        """Why this site cannot take part."""
        if hello.agreement != self._agreement:
            there, here = _short(hello.agreement), _short(self._agreement)
            return OTHER_AGREEMENT, f"its site has agreement {there}, this run has {here}; give it this run's file"
        if self._public and not hello.public:
            return OTHER_FACES, "its site has no public faces, which the method needs; give it the public set"
        if self._public and hello.public != self._public:
            there, here = _short(hello.public), _short(self._public)
            return (
                OTHER_FACES,
                f"its site has other public faces ({there}, this run's are {here}); give it the public set",
            )
        return None

    def _say(self, text: str) -> None:
        """Once each, however often it is found."""
        if text not in self._said:
            self._said.add(text)
            self._note(text)


def _unable(why: str) -> tuple[str, str]:
    return UNABLE, f"its site is connected and cannot take part: {why}"


def _short(fingerprint: str) -> str:
    return fingerprint[:12] or "none"
