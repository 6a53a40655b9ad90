"""Map ephemeral node ids to stable client ids."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet

from flwr.app import RecordDict

from fedfr.core.errors import FedfrError
from fedfr.engines.flower.requests import LostReply, NodeRequest, NodeRequests
from fedfr.engines.flower.site_state import (
    ABSENT,
    ASKED,
    BUSY,
    DUPLICATE,
    OTHER_AGREEMENT,
    OTHER_FACES,
    READY,
    SILENT,
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
    """Asks every new node for its client id, and asks again if two nodes claim the same client.

    ``agreement`` and ``public``: fingerprints that a site must return; an empty ``public`` requires no public faces.
    ``seconds``: time to wait for a reply. A later reply still counts; a silent node is asked again after twice that
    time, then four times, and so on. ``log`` receives a line for every node that cannot take part, ``on_status`` the
    status of every client. ``owners``: returns the client for which each node's key is registered, read at every call;
    a node that claims another client is ignored. ``busy``: returns the other run that a site is working for, by client;
    waiting for such sites extends the time limit by up to ``max_busy`` seconds.
    """

    def __init__(
        self,
        requests: NodeRequests,
        clients: Collection[str],
        agreement: str,
        public: str,
        *,
        seconds: float,
        log: Callable[[str], None],
        owners: Owners | None = None,
        busy: Busy = dict,
        max_busy: float = 0.0,
        on_status: StatusCallback = lambda client, status: None,
    ) -> None:
        self._requests = requests
        self._clients = frozenset(clients)
        self._agreement = agreement
        self._public = public
        self._seconds = seconds
        self._log = log
        self._owners = owners
        self._busy = busy
        self._max_busy = max_busy
        self._on_status = on_status
        self._known: dict[int, Hello] = {}
        self._rejected: set[int] = set()
        self._logged: set[str] = set()
        # Requests without a reply: the node, as text, by message id.
        self._pending: dict[str, str] = {}
        # By node: time of the first and of the last request since its last reply, and the limit of the last one.
        self._asked: dict[int, tuple[float, float, float]] = {}
        # By node: state and reason of its last reply, if that excludes it.
        self._reasons: dict[int, tuple[str, str]] = {}
        self._since: dict[str, tuple[str, float]] = {}

    def find_nodes(
        self, clients: Collection[str], timeout: float, pause: float = 2.0, *, enough: int | None = None
    ) -> dict[str, int | str]:
        """Return the node of every client in ``clients``, or the reason why it cannot take part.

        Asks new nodes and waits up to ``timeout`` seconds until all clients, or ``enough``, are connected and accepted.
        A site reads its files for every message, so they can be corrected meanwhile. Time in which a site is busy with
        another run does not count. ``pause``: seconds between two polls.
        """
        clock = self._requests.clock
        self._rejected.clear()
        started = clock.monotonic()
        deadline = started + timeout
        while True:
            connected, owners = self._requests.nodes(), None if self._owners is None else self._owners()
            # Registrations of keys may have changed.
            registered = connected if owners is None else {node for node in connected if owners.get(node)}
            self._known = {node: hello for node, hello in self._matching().items() if node in registered}
            self._forget(connected)
            self._ask(connected - self._known.keys() - self._rejected, connected, owners)
            duplicates = self._duplicates()
            if duplicates:
                # Flower may not have noticed that the older one is gone; only a live node replies.
                for node in duplicates:
                    del self._known[node]
                self._ask(duplicates, connected, owners, again=True)
            statuses = {client: self._status(client, connected, owners) for client in clients}
            now = clock.monotonic()
            if timeout and now < started + self._max_busy and any(each.state == BUSY for each in statuses.values()):
                deadline = now + timeout
            nodes = {client: self._find(client) for client in clients}
            found = sum(isinstance(node, int) for node in nodes.values())
            if found >= (len(nodes) if enough is None else min(enough, len(nodes))) or now >= deadline:
                return {
                    client: node if isinstance(node, int) else statuses[client].reason for client, node in nodes.items()
                }
            # A request starts a process at the site, and a mismatch takes longer to correct.
            repeated = connected - self._matching().keys() - self._rejected or duplicates
            clock.sleep(5 * pause if repeated else pause)

    def _matching(self) -> dict[int, Hello]:
        return {node: hello for node, hello in self._known.items() if self._mismatch(hello) is None}

    def _forget(self, connected: AbstractSet[int]) -> None:
        """Forget nodes that disconnected; they are asked again when they return."""
        self._rejected &= connected
        for kept in (self._asked, self._reasons):
            for node in [*kept.keys() - connected]:
                del kept[node]
        self._pending = {message: name for message, name in self._pending.items() if int(name) in connected}

    def _ask(
        self,
        nodes: AbstractSet[int],
        connected: AbstractSet[int],
        owners: Mapping[int, str] | None,
        *,
        again: bool = False,
    ) -> None:
        """Ask the nodes that are due, wait for the first reply of each, and read late replies of others."""
        clock = self._requests.clock
        now, pending = clock.monotonic(), {int(name) for name in self._pending.values()}
        awaited: set[int] = set()
        requests: dict[str, NodeRequest] = {}
        content = hello_request_records(self._agreement)
        for node in sorted(nodes):
            first, last, limit = self._asked.get(node, (now, now, self._seconds))
            if not again and node in pending and now < last + limit:
                continue
            if again or node not in pending:
                awaited.add(node)
                first, limit = now, self._seconds
            else:
                limit *= 2
            self._asked[node] = first, now, limit
            requests[str(node)] = NodeRequest(node, HELLO, content)
        sent = self._requests.send(requests, HELLO_TTL, "hello")
        for node in sorted({int(name) for name in requests} - {int(name) for name in sent.values()}):
            self._receive(node, LostReply("the request could not be sent to its node"))
        self._pending |= sent
        if awaited and owners is not None:
            for client in self._clients:
                self._status(client, connected, owners)
        while True:
            for name, answer in self._requests.collect(self._pending, now + HELLO_TTL, SMALL, "hello"):
                self._receive(int(name), answer)
            awaited &= {int(name) for name in self._pending.values()}
            left = now + self._seconds - clock.monotonic()
            if not awaited or left <= 0:
                break
            clock.sleep(min(self._requests.pause, left))
        for node in sorted(awaited):
            # It may still be working; a later reply counts.
            self._log_once(f"node {node} has not identified its client: no reply within {self._seconds:g} s")

    def _receive(self, node: int, answer: RecordDict | LostReply) -> None:
        if isinstance(answer, LostReply):
            # It is asked again, like a node that could not identify itself.
            self._reasons[node] = _unable(answer.reason)
            self._log_once(f"node {node} has not identified its client: {answer.reason}")
            return
        try:
            hello = read_hello(answer, f"node {node}")
            if isinstance(hello, Failure):
                self._reasons[node] = _unable(hello.reason)
                self._log_once(f"node {node} cannot identify its client: {hello.reason}")
                return
            if hello.client not in self._clients:
                raise FedfrError(f"node {node} claims to be {hello.client!r}, which is not a client of this run")
            if self._owners is not None and (owner := self._owners().get(node)) != hello.client:
                holder = f"the key of {owner!r}" if owner else "an unregistered key"
                raise FedfrError(f"node {node} claims to be {hello.client!r} but has {holder}; it is ignored")
        except FedfrError as error:
            self._rejected.add(node)
            self._reasons[node] = _unable(str(error))
            self._log_once(str(error))
            return
        self._reasons.pop(node, None)
        if (mismatch := self._mismatch(hello)) is not None:
            self._reasons[node] = mismatch
        self._known[node] = hello

    def _duplicates(self) -> set[int]:
        return {node for client in self._clients if len(nodes := self._nodes_of(client)) > 1 for node in nodes}

    def _nodes_of(self, client: str) -> list[int]:
        return sorted(node for node, hello in self._known.items() if hello.client == client)

    def _find(self, client: str) -> int | None:
        """Return the client's node, or None when there is none that can take part."""
        nodes = self._nodes_of(client)
        return nodes[0] if len(nodes) == 1 and self._mismatch(self._known[nodes[0]]) is None else None

    def _status(self, client: str, connected: AbstractSet[int], owners: OwnerOf) -> SiteStatus:
        """Return the present status of a client's site, and pass it to ``on_status``."""
        state, reason = self._state_of(client, connected, owners)
        now = self._requests.clock.monotonic()
        if self._since.get(client, ("", now))[0] != state:
            self._since[client] = state, now
        lasted = now - self._since.setdefault(client, (state, now))[1]
        # A reason given by the site itself is not split.
        found, _, remedy = (reason, "", "") if state == UNABLE else reason.partition("; ")
        found = f"{found} (for {duration(lasted)})" if lasted >= 1 and state != READY else found
        status = SiteStatus(state, f"{found}; {remedy}" if remedy else found)
        self._on_status(client, status)
        return status

    def _state_of(self, client: str, connected: AbstractSet[int], owners: OwnerOf) -> tuple[str, str]:
        nodes = self._nodes_of(client)
        if len(nodes) > 1:
            return DUPLICATE, f"nodes {' and '.join(map(str, nodes))} both claim to be this client; stop one of them"
        if nodes:
            return self._mismatch(self._known[nodes[0]]) or (READY, "")
        start = "start `fedfr site run` there; `fedfr site check` shows what is missing"
        own_nodes = sorted(node for node in connected if owners is not None and owners.get(node) == client)
        if not own_nodes:
            unidentified = len(connected - self._known.keys()) if owners is None else 0
            more = f", unless it is one of {unidentified} nodes without a client id yet" if unidentified else ""
            return ABSENT, f"its site is not connected{more}; {start}"
        return self._unidentified(client, own_nodes[0])

    def _unidentified(self, client: str, node: int) -> tuple[str, str]:
        """Return state and reason of a site whose node is known by its key but has not replied yet."""
        pending = str(node) in self._pending.values()
        late = self._requests.clock.monotonic() >= self._asked.get(node, (0.0, 0.0, 0.0))[0] + self._seconds
        if node in self._reasons and not (pending and late):
            # The last reply counts until a new one is overdue.
            return self._reasons[node]
        if (other_run := self._busy().get(client)) is not None:
            return BUSY, f"its site is connected and busy with {other_run}; it takes part when that has finished"
        if pending and not late:
            return ASKED, "its site is connected and has not replied to the hello request yet"
        return SILENT, "its site is connected but does not reply; check its log and the load of its machine"

    def _mismatch(self, hello: Hello) -> tuple[str, str] | None:
        """Return state and reason why this site cannot take part, or None."""
        if hello.agreement != self._agreement:
            site_value, run_value = _short(hello.agreement), _short(self._agreement)
            return (
                OTHER_AGREEMENT,
                f"its site has agreement {site_value}, this run has {run_value}; give it this run's file",
            )
        if self._public and not hello.public:
            return OTHER_FACES, "its site has no public faces, which the method needs; give it the public set"
        if self._public and hello.public != self._public:
            site_value, run_value = _short(hello.public), _short(self._public)
            return (
                OTHER_FACES,
                f"its site has other public faces ({site_value}, this run's are {run_value}); give it the public set",
            )
        return None

    def _log_once(self, text: str) -> None:
        """Pass each text to ``log`` once."""
        if text not in self._logged:
            self._logged.add(text)
            self._log(text)


def _unable(why: str) -> tuple[str, str]:
    return UNABLE, f"its site is connected and cannot take part: {why}"


def _short(fingerprint: str) -> str:
    return fingerprint[:12] or "none"
