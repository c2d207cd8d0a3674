"""Settings: the environment first, then `headwater.toml`; checked all at once before anything runs.

Never connects anywhere.
"""

from headwater.config.durations import Duration, format_duration, parse_duration
from headwater.config.load import load_settings
from headwater.config.locations import is_bucket, parse_location
from headwater.config.settings import DeadLetterLimit, MetricsAddress, Settings
from headwater.redaction import ClientProperties

__all__ = [
    "ClientProperties",
    "DeadLetterLimit",
    "Duration",
    "MetricsAddress",
    "Settings",
    "format_duration",
    "is_bucket",
    "load_settings",
    "parse_duration",
    "parse_location",
]
