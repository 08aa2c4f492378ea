"""What routes of other plugins are made of, so that they are served and described like ours.

Plugins never import one another, so they find it as the export ``http``::

    def routes(server: Server) -> list[Any]:
        http = server.plugins.resolve("exports", "http")
        return [http.Operation("GET /orchard", orchard, name="orchard", reply=http.always(Orchard))]
"""

from __future__ import annotations

import sys

from starlette.responses import Response

from flowdapt_rest import query, sse
from flowdapt_rest.access import needs
from flowdapt_rest.errors import reply as refusal
from flowdapt_rest.operations import Operation, Query, negotiated
from flowdapt_rest.roles import Role
from flowdapt_rest.shapes import always
from flowdapt_rest.versions import V1

__all__ = [
    "V1",
    "Operation",
    "Query",
    "Response",
    "Role",
    "always",
    "needs",
    "negotiated",
    "query",
    "refusal",
    "sse",
]

NAMES = sys.modules[__name__]  #: what is exported as one
