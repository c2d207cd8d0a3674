"""`docs/metrics.md`, made from the catalogue: python -m headwater.observe.reference."""

from typing import Final

from headwater.observe.catalogue import CATALOGUE, DURATION_BUCKETS_S, PRODUCT

HEADER: Final = """\
# Metrics

Made from the code by `make docs`; do not edit.

Every process serves them on `/metrics`, beside `/livez`, `/readyz` and `/startupz`; where it
listens is set by `metrics.host` and `metrics.port` (docs/settings.md). With `--workers` the parent
serves those of all workers, each with the label `worker`.
Each has the label `product`, and those named below.
The process's own `process_*` metrics (CPU, memory, open files) come beside them.
No label ever holds a payload.

| metric | kind | labels | what it says |
|---|---|---|---|
"""


def markdown() -> str:
    """The whole page."""
    rows = "".join(
        f"| `{metric.name}` | {metric.kind} | "
        f"{', '.join(f'`{label}`' for label in (PRODUCT, *metric.labels))} | {metric.help} |\n"
        for metric in CATALOGUE
    )
    buckets = ", ".join(f"{bucket:g}" for bucket in DURATION_BUCKETS_S)
    return f"{HEADER}{rows}\nBuckets of the histograms, in seconds: {buckets}.\n"


if __name__ == "__main__":
    print(markdown(), end="")  # noqa: T201  # this module's whole purpose
