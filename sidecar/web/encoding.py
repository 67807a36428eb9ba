"""A registry as the answer that the scraper asked for."""

import gzip

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, gzip_accepted
from starlette.requests import Request
from starlette.responses import Response


def encoded(request: Request, registry: CollectorRegistry) -> Response:
    """Return the exposition in the format and the coding that `request` takes. To be called off the event loop."""
    encoder, content_type = choose_encoder(",".join(request.headers.getlist("accept")))
    body = encoder(registry)
    headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
    if gzip_accepted(",".join(request.headers.getlist("accept-encoding"))):
        body, headers["Content-Encoding"] = gzip.compress(body, compresslevel=6), "gzip"
    return Response(body, headers=headers)
