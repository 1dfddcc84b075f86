"""What happens to a request's headers as it arrives, before Envoy looks at them: native code again. Pure."""

from __future__ import annotations

from divertor.envoy.names import TYPE, Resource, library, text
from divertor.envoy.plan import Listener

_MUTATION = "envoy.extensions.http.early_header_mutation.dynamic_modules.v3.DynamicModuleEarlyHeaderMutation"


def arrival(listener: Listener) -> Resource:
    """The extension that takes out what only we may say, and puts down the request's own URL."""
    scheme = "http" if listener.tls is None else "https"
    if listener.trusted_hops or listener.trusted_proxies:
        scheme = "told"  # by the proxy in front
    return native("arrival", scheme)


def native(name: str, settings: str) -> Resource:
    """One of the module's extensions of this kind."""
    return {
        "name": f"divertor.{name}",
        "typed_config": {
            "@type": TYPE + _MUTATION,
            "dynamic_module_config": library(),
            "early_header_mutation_name": name,
            "early_header_mutation_config": text(settings),
        },
    }
