"""A topic of several event types: each record to the contract of its type.

The type is the name of the record in its writer's schema, however the subject was named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from headwater.contract.decoder import NO_HEADERS, Decoder, in_order
from headwater.contract.event_types import EventTypes
from headwater.contract.expansion import Expansion, largest
from headwater.contract.framing import Key, rows_by_key
from headwater.contract.schema import Contract
from headwater.model import Code, Quarantine

REFUSER: Final = 0  # the place of the decoder that says why a schema is refused


@dataclass(frozen=True, slots=True)
class DecodedTypes:
    """`frames`: one per contract, each with `_row`, ascending, without quarantined rows.

    `unreadable` are those of the quarantined rows whose writer's schema no contract can resolve;
    `skipped` are rows of types that were not asked for.
    """

    frames: Sequence[pl.DataFrame]
    quarantined: Sequence[Quarantine]
    unreadable: Sequence[int]
    skipped: Sequence[int]


class TopicDecoder:
    """Decodes records of one topic into a frame per contract.

    One contract takes every record, so that its own reasons tell why one cannot be read. Of several
    each takes its own type (`EventTypes`), and so does one that `skips_others`; the rest is
    refused, or skipped.
    """

    def __init__(self, decoders: Sequence[Decoder], *, skips_others: bool = False) -> None:
        self._decoders = decoders
        self._skips_others = skips_others
        self._types = EventTypes(self.contracts)
        self._takes_all = len(decoders) == 1 and not skips_others

    @property
    def contracts(self) -> Sequence[Contract]:
        """The contracts, in the order of the frames."""
        return [each.contract for each in self._decoders]

    @property
    def expansion(self) -> Expansion:
        """How much larger than its bytes a record may become in the columns of the contracts."""
        return largest(each.expansion for each in self._decoders)

    def decode(
        self, values: Sequence[bytes | None], headers: Mapping[int, bytes] = NO_HEADERS
    ) -> DecodedTypes:
        """Decode values; see `Decoder.decode`. Raises RetriableError as that does."""
        if self._takes_all:
            (decoded,) = (each.decode(values, headers) for each in self._decoders)
            return DecodedTypes([decoded.frame], decoded.quarantined, decoded.unreadable, ())
        quarantined: list[Quarantine] = []
        groups = rows_by_key(values, headers, quarantined)
        owned: list[dict[Key, list[int]]] = [{} for _ in self._decoders]
        unreadable: list[int] = []
        skipped: list[int] = []
        for key, rows in groups.items():
            name = self._decoders[REFUSER].type_of(key)
            owner = REFUSER if name is None else self._types.place(name)
            if owner is not None:
                owned[owner][key] = rows
            elif self._skips_others:
                skipped += rows
            else:
                quarantined += [
                    Quarantine(row, Code.INCOMPATIBLE_SCHEMA, _none(name)) for row in rows
                ]
                unreadable += rows
        parts = [
            decoder.decode_groups(values, headers, mine)
            for decoder, mine in zip(self._decoders, owned, strict=True)
        ]
        for each in parts:
            quarantined += each.quarantined
            unreadable += each.unreadable
        frames = [each.frame for each in parts]
        return DecodedTypes(frames, in_order(quarantined), sorted(unreadable), sorted(skipped))


def _none(name: str | None) -> str:
    way = "add one, give one that alias, or skip the other types"
    return f"no contract of this input is of the type {name}; {way}"
