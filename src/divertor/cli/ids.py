"""What commands do with ids that people type: find the whole one, remove several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import typer

from divertor.cli.text import console, print_json, styled

if TYPE_CHECKING:
    from divertor.cli.client import Api

#: Characters of a whole id, and those that tables show; commands take any beginning that only one has.
LENGTH, SHOWN = 32, 8


def whole_id(api: Api, path: str, id: str, params: Mapping[str, Any] | None = None) -> str:
    """The id of the only thing in the list at `path` that begins so; one that is whole, or is no
    beginning, as it is.

    :raises typer.BadParameter: several begin so.
    """
    if len(id) >= LENGTH:
        return id
    found = [str(each.get("id")) for each in api.get_all(path, params)]
    fitting = [each for each in found if id and each.startswith(id)]
    if len(fitting) > 1:
        raise typer.BadParameter(f"{len(fitting)} {path.strip('/')} begin with {id!r}")
    return fitting[0] if fitting else id


def remove_all(state: str, path: str, ids: Sequence[str], said: str, as_json: bool) -> None:
    """Removes those from the list at `path` and says so: `said` and their ids."""
    from divertor.cli.client import open_api

    with open_api(state) as api:
        for id in ids:
            api.send("DELETE", f"{path}/{quote(id, safe='')}")
    if as_json:
        print_json({"removed": list(ids)})
    else:
        console().print(styled(f"{said}: {', '.join(ids)}"))
