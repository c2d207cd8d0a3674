"""The metric catalogue, logs and health. Never sees a payload."""

from headwater.observe.catalogue import CATALOGUE, Metric
from headwater.observe.health import Health, Verdict
from headwater.observe.logs import bind_process, configure_logs, get_logger
from headwater.observe.metrics import Metrics
from headwater.observe.monitor import ProcessMonitor

__all__ = [
    "CATALOGUE",
    "Health",
    "Metric",
    "Metrics",
    "ProcessMonitor",
    "Verdict",
    "bind_process",
    "configure_logs",
    "get_logger",
]
