"""Words the description of the API (OpenAPI) uses again and again."""

from __future__ import annotations

from typing import Any

from divertor.api.schemas import Error

Responses = dict[int | str, dict[str, Any]]

_ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}

_MEANINGS = {
    400: "It cannot be understood; nothing was changed.",
    401: "No good token.",
    403: "This token may not do that, or the request comes from another site's page.",
    404: "There is no such thing.",
    408: "The body took too long to arrive.",
    409: "It does not fit what is running.",
    413: "More than one request may bring.",
    415: "A content type that is not understood.",
    421: "Asked under a name that is not the API's.",
    503: "Something Divertor needs does not answer; try again after `Retry-After` seconds.",
}


def errors(*statuses: int) -> Responses:
    """Those errors, and the ones that every route may answer with."""
    found: Responses = {
        status: error(_MEANINGS[status]) for status in sorted({400, 401, 403, 421, 503, *statuses})
    }
    return {**found, "default": error("Anything else that went wrong.")}


def error(description: str) -> dict[str, Any]:
    """One error. By reference: a model for each of hundreds would make starting slow."""
    return {"description": description, "content": _ERROR}


def complete(description: dict[str, Any]) -> None:
    """Add to a generated description what it only refers to: the shape of errors, and the token."""
    components = description.setdefault("components", {})
    components.setdefault("schemas", {})["Error"] = Error.model_json_schema()
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    description["security"] = [{"token": []}]


def body(description: str, example: str, required: bool = True) -> dict[str, Any]:
    """A document as request body, YAML or JSON."""
    content = {"schema": {"type": "object"}, "example": example}
    return {
        "requestBody": {
            "description": description,
            "required": required,
            "content": {"application/yaml": content, "application/json": {"schema": {"type": "object"}}},
        }
    }
