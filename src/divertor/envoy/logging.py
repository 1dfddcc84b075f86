"""What Envoy writes down of requests, in two files. An ordinary request costs a look at its status.

The *isolated* log has every isolated, diverted and refused request. Nothing else is in it, so nothing can
crowd it out. The *requests* log has the failed requests of everybody else, and a sample of those that went
well; it holds no query, no cookie, no key. When a version is down every request fails: beyond `FAILED_BURST`
lines at once and `FAILED_RATE` a second failures are counted by Envoy and no longer written, except for the
sample. Nothing here is formatted for a request that is not logged. Pure; who reads it: `gateway.access`.
"""

from __future__ import annotations

from divertor.envoy.names import TYPE, Resource
from divertor.envoy.plan import Paths

#: Failed requests that are logged at once, and then in a second.
FAILED_BURST = 1000
FAILED_RATE = 100
#: Envoy's counter of failed requests that came too fast to be logged.
UNLOGGED = "access_log.process_ratelimit.denied"
#: Statuses from here on are failures.
FAILED_STATUS = 500
#: What went wrong although the status may say otherwise: no healthy instance, connection refused, timed out
#: or lost, too many at once, protocol error, no such version, silence, overload.
FAILED_FLAGS = (
    "UH",
    "UF",
    "UT",
    "UR",
    "UC",
    "UO",
    "URX",
    "UMSDR",
    "UPE",
    "LR",
    "NC",
    "SI",
    "DT",
    "OM",
    "DF",
)
#: The file below Envoy's configuration that says how fast failures may be logged, and the bucket in it.
LIMITS_FILE = "log/limits.json"
_BUCKET = "divertor-failed"
#: Characters of what a client says that are logged; of an attacker's path more, but not as much as he likes.
_PATH, _TEXT, _ATTACK = 2048, 512, 8192

#: What is kept of an isolated, diverted or refused request.
ISOLATED_FIELDS = {
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%",
    "method": "%REQ(:METHOD):32%",
    "host": f"%REQ(:AUTHORITY):{_TEXT}%",
    "path": f"%REQ(:PATH):{_ATTACK}%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "milliseconds": "%DURATION%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "user_agent": f"%REQ(USER-AGENT):{_TEXT}%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "route": "%ROUTE_NAME%",
    "upstream": "%UPSTREAM_CLUSTER_RAW%",
    "scope": "%DYNAMIC_METADATA(divertor:scope)%",
    "key": "%DYNAMIC_METADATA(divertor:key)%",
    "by": "%DYNAMIC_METADATA(divertor:by)%",
    "added": "%DYNAMIC_METADATA(divertor:added)%",
    "simulated": "%DYNAMIC_METADATA(divertor:simulated)%",
}
#: What is kept of a failed or sampled request, beside the gateway's name.
REQUEST_FIELDS = {
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%",
    "method": "%REQ(:METHOD):32%",
    "host": f"%REQ(:AUTHORITY):{_TEXT}%",
    "path": f"%PATH(NQ:ORIG_OR_PATH):{_PATH}%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "milliseconds": "%DURATION%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "user_agent": f"%REQ(USER-AGENT):{_TEXT}%",
    "request_id": "%REQ(X-REQUEST-ID):64%",
    "route": "%ROUTE_NAME%",
    "upstream": "%UPSTREAM_CLUSTER_RAW%",
}
_MARK = {"filter": "divertor", "path": [{"key": "scope"}]}


def logs(paths: Paths, gateway: str, sampled: float, isolates: bool) -> list[Resource]:
    """The logs of one listener; the isolated one where there is an isolation."""
    isolated = [isolated_log(paths)] if isolates else []
    requests = [request_log(paths, gateway, sampled)] if paths.request_log else []
    return [*isolated, *requests]


def isolated_log(paths: Paths) -> Resource:
    """Isolated, diverted and refused requests: those the filter has marked."""
    matcher = {**_MARK, "value": {"present_match": True}}
    marked = {"metadata_filter": {"matcher": matcher, "match_if_key_not_found": {"value": False}}}
    return _file(paths.access_log, marked, ISOLATED_FIELDS)


def request_log(paths: Paths, gateway: str, sampled: float) -> Resource:
    """Failed requests, and `sampled` per cent of the others, that the isolated log has not."""
    status = {
        "comparison": {
            "op": "GE",
            "value": {"default_value": FAILED_STATUS, "runtime_key": "divertor.failed_status"},
        }
    }
    failed = _any({"status_code_filter": status}, {"response_flag_filter": {"flags": list(FAILED_FLAGS)}})
    # A mark that is there is text, never null. (Envoy pays no heed to `invert` here.)
    matcher = {**_MARK, "value": {"null_match": {}}}
    unmarked = {"metadata_filter": {"matcher": matcher, "match_if_key_not_found": {"value": True}}}
    wanted = [_all(failed, _limited(paths))]
    if sampled > 0:
        wanted.append(_share(sampled))
    chosen = _any(*wanted) if len(wanted) > 1 else wanted[0]
    fields = {**REQUEST_FIELDS, "gateway": gateway.replace("%", "%%")}
    return _file(paths.request_log, _all(chosen, unmarked), fields)


def limits() -> Resource:
    """What `LIMITS_FILE` holds: a bucket that every worker and listener shares."""
    return {
        "@type": TYPE + "envoy.service.discovery.v3.Resource",
        "name": _BUCKET,
        "resource": {
            "@type": TYPE + "envoy.type.v3.TokenBucket",
            "max_tokens": FAILED_BURST,
            "tokens_per_fill": FAILED_RATE // 10,
            "fill_interval": "0.1s",
        },
    }


def _limited(paths: Paths) -> Resource:
    """As long as the bucket has tokens."""
    return {
        "extension_filter": {
            "name": "envoy.access_loggers.extension_filters.process_ratelimit",
            "typed_config": {
                "@type": TYPE
                + "envoy.extensions.access_loggers.filters.process_ratelimit.v3.ProcessRateLimitFilter",
                "dynamic_config": {
                    "resource_name": _BUCKET,
                    "config_source": {
                        "resource_api_version": "V3",
                        "path_config_source": {
                            "path": f"{paths.config}/{LIMITS_FILE}",
                            "watched_directory": {"path": f"{paths.config}/log"},
                        },
                    },
                },
            },
        }
    }


def _share(percent: float) -> Resource:
    """That share of the requests, drawn by chance: nobody can see to it that he is not among them."""
    share = {"numerator": round(percent * 10_000), "denominator": "MILLION"}
    return {
        "runtime_filter": {
            "runtime_key": "divertor.sampled",
            "percent_sampled": share,
            "use_independent_randomness": True,
        }
    }


def _any(*filters: Resource) -> Resource:
    return {"or_filter": {"filters": list(filters)}}


def _all(*filters: Resource) -> Resource:
    return {"and_filter": {"filters": list(filters)}}


def _file(path: str, wanted: Resource, fields: dict[str, str]) -> Resource:
    return {
        "name": "envoy.access_loggers.file",
        "filter": wanted,
        "typed_config": {
            "@type": TYPE + "envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": path,
            "log_format": {"json_format": fields},
        },
    }
