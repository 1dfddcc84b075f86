"""The REST API: Vamp's paths and documents, isolations, detections, rules, and telemetry in.

`create_app` makes the application from the services behind it; `Auth` says who may ask.
"""

from divertor.api.app import create_app
from divertor.api.auth import Auth
from divertor.api.server import server
from divertor.api.services import Services

__all__ = ["Auth", "Services", "create_app", "server"]
