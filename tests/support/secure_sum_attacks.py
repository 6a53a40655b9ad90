"""Attacks on one round of a secure sum: messages of the server, changed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.support.kill_steps import contents
from tests.support.secure_sums import Sums, refused

from fedfr.privacy.secure_sum.stage_messages import Stage, StageMessage, decode_message, encode_message


def read(data: bytes, stage: Stage, *, reply: bool = False, length: int = 0) -> StageMessage:
    return decode_message(data, stage, reply=reply, length=length)


def sent(message: StageMessage) -> bytes:
    return b"".join(encode_message(message))


def with_columns(message: StageMessage, name: str, site: str, value: bytes) -> StageMessage:
    """The message with another value of one site."""
    column = {**message.by_member(name), site: value}
    return replace(message, columns={**message.columns, name: tuple(column[each] for each in message.members)})


def without(message: StageMessage, *sites: str) -> StageMessage:
    """The message without some sites."""
    kept = tuple(site for site in message.members if site not in sites)
    columns = {name: tuple(message.by_member(name)[site] for site in kept) for name in message.columns}
    return replace(message, members=kept, columns=columns)


class Attack:
    """A round of five sites, threshold 4, up to the requests of one stage; adam is attacked."""

    def __init__(self, folder: Path, stage: Stage, number: int = 1) -> None:
        self.sums = Sums(folder, 5, 4)
        self.stage = stage
        self.plan = self.sums.plan(number)
        self.coordinator = self.sums.until(stage, self.plan)
        self.honest = read(self.coordinator.requests()["adam"], stage)

    def refused(self, message: StageMessage) -> str:
        """Why adam refuses the request; its record is as before."""
        before = contents(self.sums.folder)
        reason = refused(partial(self.sums.answer, self.stage, "adam", sent(message), self.plan))
        assert contents(self.sums.folder) == before
        prefix = f"adam refuses stage {self.stage} of the secure sum of round {message.round}: "
        assert reason.startswith(prefix)
        return reason.removeprefix(prefix)

    def finish(self) -> None:
        """The round goes on as if nothing had happened."""
        self.sums.until(None, self.plan, coordinator=self.coordinator)
