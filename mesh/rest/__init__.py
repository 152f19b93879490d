"""REST for apps, mounted from the contracts' `google.api.http` options.

convert       messages ⇄ JSON, compiled once per message type
binding       which method answers which verb and path, read from the descriptors
problem       errors as `application/problem+json` (RFC 9457)
body          JSON, within bounds
rates         how often one may ask
edge          the ASGI application: one request to one call
streams       files in pieces, and server-sent events
openapi       the OpenAPI document of the same bindings
mount         the whole of it for a list of stubs
"""

from mesh.rest.convert import to_json
from mesh.rest.edge import as_user, json_response
from mesh.rest.mount import mount

__all__ = ["as_user", "json_response", "mount", "to_json"]
