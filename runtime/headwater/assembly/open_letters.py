"""How many dead letters of a product are open, counted anew only when there may be others."""

from headwater.assembly.audit import TOPIC, AuditLog
from headwater.assembly.letters.box import DeadLetterBox, OnProgress
from headwater.model import Positions
from headwater.ports import LogReader, Registry, Topics


class OpenLetters:
    """Reads the letters of a product and the audit log of all, where either has grown."""

    def __init__(self, product: str, topics: Topics, registry: Registry, reader: LogReader) -> None:
        self._topics = topics
        audit = AuditLog(topics, registry, reader)
        self._box = DeadLetterBox(product, topics, reader, audit)
        self._counted: tuple[list[Positions], int] | None = None

    def count(self, on_progress: OnProgress) -> int:
        """The letters that are committed and that nothing was decided about, as of now.

        Raises UnavailableError.
        """
        # asked before counting: what is written meanwhile is for the next time
        ends = [
            self._topics.ends(topic)
            for topic in (self._box.topic, TOPIC)
            if self._topics.partitions(topic) is not None
        ]
        if self._counted is None or self._counted[0] != ends:
            self._counted = ends, self._box.open_count(on_progress)
        return self._counted[1]
