"""Words for numbers, in what the command line and the tables say."""


def quantity(count: int, noun: str) -> str:
    """Return `1 run`, `2 runs`: a count and its noun, with an s where it is not one."""
    return f"{count} {noun}{'s' * (count != 1)}"
