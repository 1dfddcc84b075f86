"""ElastAlert's options that nothing here acts upon, each with the reason: accepted without effect or refused.

An option that is in no declaration and not here is unknown, and an error: a misspelt one would otherwise
quietly not do what its author thinks. Aliases are names that options once had.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


def _all(names: str, reason: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), reason)


_POLLING = "it says how to poll Elasticsearch, and events are judged when they arrive"
_CONNECTION = "it says how to reach Elasticsearch, and rules read the event stream"
_SHORTENING = "links are not shortened: nothing is asked of Kibana"
_KIBANA_LOGIN = "nothing is asked of Kibana; links need no login"
_PEOPLE = "it is a remark for people; texts may name it"

#: Options that are for people, and need no hint that nothing is done with them.
REMARKS = frozenset({"category", "description", "owner", "priority"})

_STORE = "it says what ElastAlert stores about alerts; here they are events"
_MAPPING = "it is about Elasticsearch's mappings, and events need none"

#: Accepted without effect, with the reason.
WITHOUT_EFFECT: Mapping[str, str] = {
    **_all(
        """_source_enabled doc_type include_fields max_query_size max_scrolling_count
        old_query_limit query_timezone raw_count_keys scan_entire_timeframe scroll_keepalive
        search_extra_index terms_size max_threads misfire_grace_time initial_starttime""",
        _POLLING,
    ),
    **_all(
        """es_host es_port es_hosts es_username es_password es_bearer es_api_key es_url_prefix
        es_send_get_body_as es_conn_timeout es_debug es_debug_trace use_ssl verify_certs ca_certs
        client_cert client_key ssl_show_warn aws_region profile""",
        _CONNECTION,
    ),
    **_all("shorten_kibana_discover_url kibana_discover_security_tenant", _SHORTENING),
    **_all("kibana_url kibana_username kibana_password kibana_verify_certs opensearch_url", _KIBANA_LOGIN),
    **_all("opensearch_username opensearch_password opensearch_verify_certs", _KIBANA_LOGIN),
    **dict.fromkeys(sorted(REMARKS), _PEOPLE),
    **_all("include_match_in_root add_metadata_alert", _STORE),
    **_all("replace_dots_in_field_names string_multi_field_name use_keyword_postfix field", _MAPPING),
}

#: Further options of these families are about Elasticsearch or Kibana alone.
WITHOUT_EFFECT_PREFIXES = ("es_", "kibana_", "opensearch_")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an option is refused, and what to write instead."""

    why: str
    instead: str


_CODE = "it is Python code that would be run with values of events"
_DASHBOARD = "it needs a dashboard of Kibana 3 or 4, which ElastAlert 2 does not make either"

#: Refused: to ignore them would alert on something else, at another time, or with another text.
REFUSED: Mapping[str, Refusal] = {
    "timestamp_format_expr": Refusal(_CODE, "timestamp_type: custom with timestamp_format"),
    "timestamp_to_datetime_format_expr": Refusal(_CODE, "timestamp_type: custom with timestamp_format"),
    "jinja_filters": Refusal(
        "templates run in a sandbox, with Jinja's own filters only", "an enhancement that adds a field"
    ),
    "use_kibana_dashboard": Refusal(_DASHBOARD, "links"),
    "use_kibana4_dashboard": Refusal(_DASHBOARD, "links"),
    "generate_kibana_link": Refusal(_DASHBOARD, "links or generate_kibana_discover_url"),
    "kibana4_start_timedelta": Refusal(_DASHBOARD, "kibana_discover_from_timedelta"),
    "kibana4_end_timedelta": Refusal(_DASHBOARD, "kibana_discover_to_timedelta"),
    "kibana_dashboard": Refusal(_DASHBOARD, "links"),
    "dashboard_index": Refusal(_DASHBOARD, "links"),
}

#: Old names → names of today.
ALIASES: Mapping[str, str] = {
    "aggregation_alert_time_compared_with_timestamp": "aggregation_alert_time_compared_with_timestamp_field",
    "boto_profile": "profile",
    "ca_cert": "ca_certs",
    "max_scrolling": "max_scrolling_count",
    "ses_aws_access_key": "ses_aws_access_key_id",
    "ses_aws_secret_key": "ses_aws_secret_access_key",
}

#: What a directory's `config.yaml` may set for its rules, besides options of alerters.
DEFAULTABLE = frozenset(
    """aggregation_key alert alert_missing_value alert_subject_max_len alert_time_limit buffer_time compatible
    custom_pretty_ts_format dashboard_url include index links max_aggregation query_delay run_every severity
    timestamp_field timestamp_format timestamp_type use_local_time use_strftime_index""".split()
)

#: Options of ElastAlert's `config.yaml` that say how ElastAlert itself runs.
CONFIG_WITHOUT_EFFECT = frozenset(
    """disable_rules_on_error logging max_signal_threads mail_on_exception notify_all_errors notify_email
    prometheus_port realert rules_folder rules_loader run_every_jitter scan_subdirectories
    show_disabled_rules show_ssl_warnings skip_invalid statsd_host statsd_instance_tag writeback_alias
    writeback_index writeback_suffix""".split()
)
