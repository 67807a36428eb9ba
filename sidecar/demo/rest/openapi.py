"""The description that the REST root gives of itself: names of tables and functions, and no more."""

from starlette.responses import JSONResponse, Response

from sidecar.demo.rest.catalogue import Catalogue
from sidecar.demo.rest.errors import RestError


async def description(catalogue: Catalogue, method: str) -> Response:
    """Return the OpenAPI document of what the catalogue holds."""
    if method not in {"GET", "HEAD"}:
        raise RestError(405, "PGRST117", f"Unsupported HTTP method: {method}")
    await catalogue.refresh()
    tables = {
        name: {"properties": {column: {"format": known.type} for column, known in table.columns.items()}}
        for name, table in catalogue.tables.items()
    }
    paths = [*(f"/{name}" for name in tables), *(f"/rpc/{name}" for name in catalogue.functions)]
    document = {
        "swagger": "2.0",
        "info": {"title": "standard public schema", "version": "14.14", "description": "Stand-in for PostgREST"},
        "paths": {"/": {}, **{path: {} for path in sorted(paths)}},
        "definitions": {name: {"type": "object", **table} for name, table in sorted(tables.items())},
    }
    return JSONResponse(document, media_type="application/openapi+json; charset=utf-8")
