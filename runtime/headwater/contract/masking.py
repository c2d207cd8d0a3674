"""What of an event people may not see: the fields whose sensitivity is personal or secret."""

from typing import Any

from headwater.contract.attributes import MASKED
from headwater.contract.schema import Contract
from headwater.contract.tree import Array, Map, Record, Type, optional
from headwater.redaction import REDACTED


def masked_fields(*contracts: Contract) -> frozenset[str]:
    """The fields that any of the contracts wants masked, by path."""
    return frozenset(
        path
        for contract in contracts
        for path, level in contract.sensitivity.items()
        if level in MASKED
    )


def masked_event(event: dict[str, Any], contract: Contract) -> dict[str, Any]:
    """An event with REDACTED in place of what is sensitive in it, at any depth.

    Records and maps are dicts, arrays are lists. Null stays null.
    """
    shown: dict[str, Any] = _masked(event, contract.record, "", masked_fields(contract))
    return shown


def _masked(value: Any, type_: Type, path: str, masked: frozenset[str]) -> Any:
    if value is None:
        return None
    if path in masked:
        return REDACTED
    match optional(type_) or type_:
        case Record(fields=fields):
            return {
                each.name: _masked(
                    value[each.name], each.type, f"{path}.{each.name}".lstrip("."), masked
                )
                for each in fields
            }
        case Array(items):
            return [_masked(item, items, f"{path}[]", masked) for item in value]
        case Map(values):
            return {
                key: _masked(item, values, f"{path}{{}}", masked) for key, item in value.items()
            }
        case _:
            return value


def touches(path: str, masked: frozenset[str]) -> bool:
    """Whether a field is to be masked where it is shown whole.

    Each of `masked` counts with all that is inside it, and with what it is inside of.
    """
    return any(
        each == path
        or each.startswith((f"{path}.", f"{path}[", f"{path}{{"))
        or path.startswith(f"{each}.")
        for each in masked
    )
