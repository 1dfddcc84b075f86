"""The gateway's fixtures: the real Envoy, small apps behind it."""

from __future__ import annotations

from tests.gateway.conftest import apps, gateway, port

__all__ = ["apps", "gateway", "port"]
