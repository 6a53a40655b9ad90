"""Map ephemeral node ids to stable client ids."""

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
    SiteStatus,
    StatusCallback,
    duration,
)
from fedfr.engines.flower.wire import SMALL, hello_request_records, read_hello
from fedfr.federation.messages import Failure, Hello

__all__ = ["Busy", "NodeRegistry", "Owners"]

HELLO = "query.hello"
HELLO_TTL = 3600.0
"""Seconds for which the SuperLink keeps a hello request; late replies, as from a busy machine, count."""

Owners = Callable[[], Mapping[int, str]]
OwnerOf = Mapping[int, str] | None
Busy = Callable[[], Mapping[str, str]]


class NodeRegistry:
    """Requests the client id of every new node, and again when two nodes claim the same client.

    ``agreement`` and ``public``: fingerprints that a site must return; an empty ``public`` requires no public faces.
    ``seconds``: time to wait for a reply before the round continues without it; a later reply counts from then on, and
    a silent node is asked again after twice that time, four times and so on. ``note`` receives a line for every node
    that cannot take part, ``watch`` the status of every client. ``owners``: the client that each node's key is
    registered for, read anew at every call; a node that claims another client is ignored. ``busy``: the other run that
    a site is working for, by client; waiting for such sites extends the time limit, up to ``most_busy`` seconds.
    """

    def __init__(
        self,
        requests: NodeRequests,
        clients: Collection[str],
        agreement: str,
        public: str,
        *,
        seconds: float,
        note: Callable[[str], None],
        owners: Owners | None = None,
        busy: Busy = dict,
        most_busy: float = 0.0,
        watch: StatusCallback = lambda client, status: None,
    ) -> None:
        self._requests = requests
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
        self._rejected: set[int] = set()
        self._noted: set[str] = set()
        # Requests without a reply: the node, as text, by message id.
        self._pending: dict[str, str] = {}
        # By node: time of the first and of the last request since its last reply, and the limit of the last one.
        self._asked: dict[int, tuple[float, float, float]] = {}
        # By node: state and reason of its last reply, where that excludes it.
        self._reasons: dict[int, tuple[str, str]] = {}
        self._since: dict[str, tuple[str, float]] = {}

    def find_nodes(self, wanted: Sequence[str], patience: float, pause: float = 2.0) -> dict[str, int | str]:
        """Return the node of every client in ``wanted``, or the reason why it cannot take part.

        Waits up to ``patience`` seconds until all are connected and accepted: a site reads its files anew for every
        message, so it can be corrected meanwhile. Time in which one of them is busy with another run is not counted.
        Connected nodes are asked in any case.
        """
        clock = self._requests.clock
        self._rejected.clear()
        begun = clock.monotonic()
        ends = begun + patience
        while True:
            here, owners = self._requests.nodes(), None if self._owners is None else self._owners()
            # Registrations of keys may have changed.
            registered = here if owners is None else {node for node in here if owners.get(node)}
            self._known = {node: hello for node, hello in self._matching().items() if node in registered}
            self._forget(here)
            self._ask(here - self._known.keys() - self._rejected, here, owners)
            twice = self._claimed_twice()
            if twice:
                # The older one may be gone unnoticed by Flower; only the live one replies.
                for node in twice:
                    del self._known[node]
                self._ask(twice, here, owners, anew=True)
            found = {client: self._status(client, here, owners) for client in wanted}
            now = clock.monotonic()
            if patience and now < begun + self._most_busy and any(each.state == BUSY for each in found.values()):
                ends = now + patience
            nodes = {client: self._find(client) for client in wanted}
            if all(isinstance(node, int) for node in nodes.values()) or now >= ends:
                return {
                    client: node if isinstance(node, int) else found[client].reason for client, node in nodes.items()
                }
            # A request starts a process at the site, and a mismatch is not corrected within seconds.
            asked_again = here - self._matching().keys() - self._rejected or twice
            clock.sleep(5 * pause if asked_again else pause)

    def _matching(self) -> dict[int, Hello]:
        return {node: hello for node, hello in self._known.items() if self._mismatch(hello) is None}

    def _forget(self, here: AbstractSet[int]) -> None:
        """Forget nodes that disconnected; they are asked again when they return."""
        self._rejected &= here
        for kept in (self._asked, self._reasons):
            for node in [*kept.keys() - here]:
                del kept[node]
        self._pending = {message: name for message, name in self._pending.items() if int(name) in here}

    def _ask(
        self, nodes: AbstractSet[int], here: AbstractSet[int], owners: Mapping[int, str] | None, *, anew: bool = False
    ) -> None:
        """Ask the nodes that are due, wait for the first reply of each, and read late replies of others."""
        clock = self._requests.clock
        now, pending = clock.monotonic(), {int(name) for name in self._pending.values()}
        waited: set[int] = set()
        requests: dict[str, NodeRequest] = {}
        content = hello_request_records(self._agreement)
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
            requests[str(node)] = NodeRequest(node, HELLO, content)
        sent = self._requests.send(requests, HELLO_TTL, "hello")
        for node in sorted({int(name) for name in requests} - {int(name) for name in sent.values()}):
            self._receive(node, LostReply("the request could not be sent to its node"))
        self._pending |= sent
        if waited and owners is not None:
            for client in self._clients:
                self._status(client, here, owners)
        while True:
            for name, answer in self._requests.collect(self._pending, now + HELLO_TTL, SMALL, "hello"):
                self._receive(int(name), answer)
            waited &= {int(name) for name in self._pending.values()}
            left = now + self._seconds - clock.monotonic()
            if not waited or left <= 0:
                break
            clock.sleep(min(self._requests.pause, left))
        for node in sorted(waited):
            # It may still be working; a later reply counts.
            self._note_once(f"node {node} has not identified its client: no reply within {self._seconds:g} s")

    def _receive(self, node: int, answer: RecordDict | LostReply) -> None:
        if isinstance(answer, LostReply):
            # It is asked again, like a node that could not identify itself.
            self._reasons[node] = _unable(answer.reason)
            self._note_once(f"node {node} has not identified its client: {answer.reason}")
            return
        try:
            hello = read_hello(answer, f"node {node}")
            if isinstance(hello, Failure):
                self._reasons[node] = _unable(hello.reason)
                self._note_once(f"node {node} cannot identify its client: {hello.reason}")
                return
            if hello.client not in self._clients:
                raise FedfrError(f"node {node} claims to be {hello.client!r}, which is not a client of this run")
            if self._owners is not None and (owner := self._owners().get(node)) != hello.client:
                whose = f"the key of {owner!r}" if owner else "an unregistered key"
                raise FedfrError(f"node {node} claims to be {hello.client!r} but has {whose}; it is ignored")
        except FedfrError as error:
            self._rejected.add(node)
            self._reasons[node] = _unable(str(error))
            self._note_once(str(error))
            return
        self._reasons.pop(node, None)
        if (misfit := self._mismatch(hello)) is not None:
            self._reasons[node] = misfit
        self._known[node] = hello

    def _claimed_twice(self) -> set[int]:
        return {node for client in self._clients if len(nodes := self._nodes_of(client)) > 1 for node in nodes}

    def _nodes_of(self, client: str) -> list[int]:
        return sorted(node for node, hello in self._known.items() if hello.client == client)

    def _find(self, client: str) -> int | None:
        """Return the client's node, or None when there is none that can take part."""
        nodes = self._nodes_of(client)
        return nodes[0] if len(nodes) == 1 and self._mismatch(self._known[nodes[0]]) is None else None

    def _status(self, client: str, here: AbstractSet[int], owners: OwnerOf) -> SiteStatus:
        """Return the present status of a client's site, and pass it to ``watch``."""
        state, reason = self._state_of(client, here, owners)
        now = self._requests.clock.monotonic()
        if self._since.get(client, ("", now))[0] != state:
            self._since[client] = state, now
        lasted = now - self._since.setdefault(client, (state, now))[1]
        # A reason given by the site itself is not split.
        found, _, remedy = (reason, "", "") if state == UNABLE else reason.partition("; ")
        lasting = f"{found} (for {duration(lasted)})" if lasted >= 1 and state != READY else found
        status = SiteStatus(state, f"{lasting}; {remedy}" if remedy else lasting)
        self._watch(client, status)
        return status

    def _state_of(self, client: str, here: AbstractSet[int], owners: OwnerOf) -> tuple[str, str]:
        nodes = self._nodes_of(client)
        if len(nodes) > 1:
            return TWICE, f"nodes {' and '.join(map(str, nodes))} both claim to be this client; stop one of them"
        if nodes:
            return self._mismatch(self._known[nodes[0]]) or (READY, "")
        start = "start `fedfr site run` there; `fedfr site check` shows what is missing"
        connected = sorted(node for node in here if owners is not None and owners.get(node) == client)
        if not connected:
            unidentified = len(here - self._known.keys()) if owners is None else 0
            more = f", unless it is one of {unidentified} nodes without a client id yet" if unidentified else ""
            return ABSENT, f"its site is not connected{more}; {start}"
        return self._unidentified(client, connected[0])

    def _unidentified(self, client: str, node: int) -> tuple[str, str]:
        """Return state and reason of a site whose node is known by its key but has not replied yet."""
        waits = str(node) in self._pending.values()
        late = self._requests.clock.monotonic() >= self._asked.get(node, (0.0, 0.0, 0.0))[0] + self._seconds
        if node in self._reasons and not (waits and late):
            # The last reply counts until a new one is overdue.
            return self._reasons[node]
        if (work := self._busy().get(client)) is not None:
            return BUSY, f"its site is connected and busy with {work}; it takes part when that has finished"
        if waits and not late:
            return ASKED, "its site is connected and has not replied to the check yet"
        return SILENT, "its site is connected but does not reply; check its log and the load of its machine"

    def _mismatch(self, hello: Hello) -> tuple[str, str] | None:
        """Return state and reason why this site cannot take part, or None."""
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

    def _note_once(self, text: str) -> None:
        """Pass each text to ``note`` once."""
        if text not in self._noted:
            self._noted.add(text)
            self._note(text)


def _unable(why: str) -> tuple[str, str]:
    return UNABLE, f"its site is connected and cannot take part: {why}"


def _short(fingerprint: str) -> str:
    return fingerprint[:12] or "none"
