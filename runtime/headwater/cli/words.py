"""Words for people."""


def counted(number: int, what: str) -> str:
    """A number and what it counts: 1 product, 1,200 products."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
