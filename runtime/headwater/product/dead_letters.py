"""The declared policy for records that a product cannot process."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """`keep_order`: once a record is set aside, those of its key behind it wait for its replay.

    Of one input partition; every input has a key then, and no step state.
    """

    keep_order: bool = False


def dead_letters_mistake(policy: object) -> str | None:
    """What is wrong with a policy; None when it is right, or there is none."""
    if policy is None:
        return None
    if not isinstance(policy, DeadLetters):
        return f"dead_letters={policy!r} is no policy; write DeadLetters(keep_order=True)"
    keep_order: object = policy.keep_order
    if not isinstance(keep_order, bool):
        return f"keep_order={keep_order!r} is neither True nor False"
    return None
