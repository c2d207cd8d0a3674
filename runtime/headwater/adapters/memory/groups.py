"""A consumer group with static members and eager range assignment.

A rebalance waits until every member has polled once more (and so let go of what it held).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from headwater.model import Partition

NO_GENERATION: Final = -1  # of one that never joined: only an empty group takes positions from it


@dataclass(eq=False, slots=True)
class Member:
    """One process in a group. `instance` is stable, `member_id` is new for every process."""

    instance: str
    member_id: str
    topics: tuple[str, ...]
    has_joined: bool = True
    assignment: tuple[Partition, ...] = ()
    is_news: bool = False  # the assignment has not been told yet


@dataclass(frozen=True, slots=True)
class Token:
    """Membership at one moment, as a transactional offset commit carries it."""

    group: str
    instance: str
    member_id: str
    generation: int


class Group:
    """Committed positions and members. `partitions` gives the partition count of a topic."""

    def __init__(self, name: str, partitions: Callable[[str], int]) -> None:
        self.name = name
        self.offsets: dict[Partition, tuple[int, str]] = {}
        self.members: dict[str, Member] = {}
        self.generation = 0
        self._partitions = partitions
        self._is_rebalancing = False
        self._ids = count(1)

    def join(self, instance: str, topics: Sequence[str]) -> Member:
        """A process joins; one that takes an instance's place gets its partitions unmoved."""
        old = self.members.get(instance)
        member = Member(instance, f"{instance}-{next(self._ids)}", tuple(topics))
        self.members[instance] = member
        if old is not None and old.topics == member.topics and not self._is_rebalancing:
            member.assignment, member.is_news = old.assignment, True
        else:
            self.rebalance()
            member.has_joined = True
        return member

    def expire(self, instance: str) -> None:
        """The session of an instance ends: its partitions go to the others."""
        if self.members.pop(instance, None) is not None:
            self.rebalance()

    def rebalance(self) -> None:
        """Every member has to join again."""
        self._is_rebalancing = True
        for member in self.members.values():
            member.has_joined = False

    def must_join(self, member: Member) -> bool:
        """Whether this member holds up a rebalance."""
        return self._is_rebalancing and not member.has_joined

    def rejoin(self, member: Member) -> None:
        """The member has let go of everything."""
        member.has_joined, member.assignment, member.is_news = True, (), False

    def settle(self) -> None:
        """Hand out the partitions once every member has joined."""
        if not self._is_rebalancing or not all(m.has_joined for m in self.members.values()):
            return
        self._is_rebalancing = False
        self.generation += 1
        for member in self.members.values():
            member.assignment, member.is_news = (), True
        for topic in sorted({topic for m in self.members.values() for topic in m.topics}):
            self._assign_range(topic)

    def _assign_range(self, topic: str) -> None:
        members = [m for _, m in sorted(self.members.items()) if topic in m.topics]
        share, rest = divmod(self._partitions(topic), len(members))
        begin = 0
        for place, member in enumerate(members):
            end = begin + share + (place < rest)
            member.assignment += tuple(Partition(topic, index) for index in range(begin, end))
            begin = end
