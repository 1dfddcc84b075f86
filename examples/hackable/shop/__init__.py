"""What both versions of the shop have in common, written safely: pages, sessions, database, brochures.

A version makes its application with `create_site` and adds the four pages in which the versions differ:
login, search, download and ping. Nothing in here knows which version is running.
"""

from shop.brochures import BROCHURE_NAMES, BROCHURES
from shop.site import (
    create_site,
    database,
    log_in,
    refuse_login,
    send_brochure,
    show_ping,
    show_search,
)

__all__ = [
    "BROCHURES",
    "BROCHURE_NAMES",
    "create_site",
    "database",
    "log_in",
    "refuse_login",
    "send_brochure",
    "show_ping",
    "show_search",
]
