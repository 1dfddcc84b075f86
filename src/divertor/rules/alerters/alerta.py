"""`alerta`: events of an Alerta server."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, defaults, header_text, proxy
from divertor.rules.reading.options import Option, boolean, integer, text, texts, urls

DECLARATION = AlerterDeclaration(
    "alerta",
    (
        Option("alerta_api_url", urls, required=True),
        Option("alerta_api_key", header_text, default=""),
        Option("alerta_timeout", integer(0, 10**9), default=86400),
        Option("alerta_use_match_timestamp", boolean, default=False),
        Option("alerta_use_qk_as_resource", boolean, default=False),
        Option("alerta_api_skip_ssl", boolean, default=False),
        Option("alerta_severity", text, default="warning"),
        Option("alerta_resource", text, default="elastalert"),
        Option("alerta_environment", text, default="Production"),
        Option("alerta_origin", text, default="elastalert"),
        Option("alerta_service", texts, default=("elastalert",)),
        Option("alerta_text", text, default="elastalert"),
        Option("alerta_type", text, default="elastalert"),
        Option("alerta_event", text, default="elastalert"),
        Option("alerta_correlate", texts, default=()),
        Option("alerta_tags", texts, default=()),
        *defaults("alerta_group", "alerta_value"),
        Option("alerta_attributes_keys", texts, default=()),
        Option("alerta_attributes_values", texts, default=()),
        Option("alerta_new_style_string_format", boolean, default=False),
        Option("alerta_proxy", proxy, default=""),
        *defaults("alerta_proxy_login", "alerta_proxy_pass", "alerta_ca_certs"),
        Option("alerta_ignore_ssl_errors", boolean, default=False),
    ),
    resolved="the same event with severity `normal`, which closes it",
)
