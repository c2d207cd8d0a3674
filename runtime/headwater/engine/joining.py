"""Two inputs of one task: a join of streams goes by the lesser of their watermarks."""

from headwater.engine.task import Task


def join_tasks(output: str, left: Task, right: Task) -> None:
    """Let the routes of both to an output, which have a join in common, see the other's time."""
    for mine, other in ((left, right), (right, left)):
        if mine.watermarks is not None and other.watermarks is not None:
            mine.routes.beside[output] = other.watermarks
            mine.watermarks.beside.append(other.watermarks)
