"""What commands that work on broker and registry begin with."""

from headwater.assembly.addresses import resolve
from headwater.config import Settings, load_settings
from headwater.observe.logs import configure_logs


def begin() -> Settings:
    """The settings with both addresses, and logs as they say; raises as `resolve` does."""
    settings = resolve(load_settings())
    configure_logs(form=settings.log_format, level=settings.log_level, secrets=settings.secrets())
    return settings
