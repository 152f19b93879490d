"""Names of attributes, from the OpenTelemetry semantic conventions 1.45.

RPC, database and HTTP are stable; messaging and CloudEvents are in development. NATS is not among
the messaging systems of the conventions: `messaging.nats.*` is ours.
"""

from __future__ import annotations

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.45.0"

SERVICE_NAME: Final = "service.name"
SERVICE_NAMESPACE: Final = "service.namespace"
SERVICE_VERSION: Final = "service.version"
SERVICE_INSTANCE_ID: Final = "service.instance.id"
DEPLOYMENT_ENVIRONMENT_NAME: Final = "deployment.environment.name"

ERROR_TYPE: Final = "error.type"
EXCEPTION_TYPE: Final = "exception.type"

SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
NETWORK_PEER_ADDRESS: Final = "network.peer.address"
NETWORK_PEER_PORT: Final = "network.peer.port"
SERVICE_PEER_NAME: Final = "service.peer.name"
PEER_SERVICE: Final = "peer.service"  # deprecated, but the name that Jaeger's page reads

RPC_SYSTEM_NAME: Final = "rpc.system.name"
RPC_METHOD: Final = "rpc.method"
RPC_METHOD_ORIGINAL: Final = "rpc.method_original"
RPC_STATUS_CODE: Final = "rpc.status_code"

DB_SYSTEM_NAME: Final = "db.system.name"
DB_NAMESPACE: Final = "db.namespace"
DB_OPERATION_NAME: Final = "db.operation.name"
DB_OPERATION_BATCH_SIZE: Final = "db.operation.batch.size"
DB_COLLECTION_NAME: Final = "db.collection.name"
DB_QUERY_SUMMARY: Final = "db.query.summary"
DB_QUERY_TEXT: Final = "db.query.text"
DB_RESPONSE_STATUS_CODE: Final = "db.response.status_code"

MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION_NAME: Final = "messaging.operation.name"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
MESSAGING_DESTINATION_NAME: Final = "messaging.destination.name"
MESSAGING_DESTINATION_TEMPLATE: Final = "messaging.destination.template"
MESSAGING_CONSUMER_GROUP_NAME: Final = "messaging.consumer.group.name"
MESSAGING_MESSAGE_ID: Final = "messaging.message.id"
MESSAGING_MESSAGE_BODY_SIZE: Final = "messaging.message.body.size"
MESSAGING_BATCH_MESSAGE_COUNT: Final = "messaging.batch.message_count"
MESSAGING_NATS_STREAM: Final = "messaging.nats.stream"
MESSAGING_NATS_SEQUENCE: Final = "messaging.nats.sequence"
MESSAGING_NATS_DELIVERY_COUNT: Final = "messaging.nats.delivery_count"
MESSAGING_ATTEMPT: Final = "mesh.messaging.attempt"

CLOUDEVENTS_EVENT_ID: Final = "cloudevents.event_id"
CLOUDEVENTS_EVENT_TYPE: Final = "cloudevents.event_type"
CLOUDEVENTS_EVENT_SOURCE: Final = "cloudevents.event_source"
CLOUDEVENTS_EVENT_SUBJECT: Final = "cloudevents.event_subject"

HTTP_REQUEST_METHOD: Final = "http.request.method"
HTTP_RESPONSE_STATUS_CODE: Final = "http.response.status_code"
HTTP_ROUTE: Final = "http.route"
URL_SCHEME: Final = "url.scheme"

MESH_PREVIOUS_ATTEMPTS: Final = "mesh.rpc.previous_attempts"

SAGA_NAME: Final = "bank.saga.name"
SAGA_STEP: Final = "bank.saga.step"
SAGA_ATTEMPT: Final = "bank.saga.attempt"
REPLAY: Final = "bank.replay"

_NAMESPACES: Final = (
    "bank.",
    "cloudevents.",
    "db.",
    "deployment.",
    "http.",
    "mesh.",
    "messaging.",
    "network.",
    "rpc.",
    "saga.",
    "server.",
    "service.",
)
_NAMES: Final = frozenset({ERROR_TYPE, EXCEPTION_TYPE, PEER_SERVICE, URL_SCHEME, "thread.name"})
_CONTENTS: Final = (
    "db.query.parameter.",
    "db.response.returned",
    "http.request.body",
    "http.request.header.",
    "http.response.body",
    "http.response.header.",
    "messaging.message.conversation_id",
    "rpc.request.metadata.",
    "rpc.response.metadata.",
)


def is_allowed(attribute: str) -> bool:
    """Tells whether an attribute may leave the process: it is of a known namespace, no content.

    URLs, user agents, client addresses, headers, metadata and query parameters stay inside.
    """
    if attribute in _NAMES:
        return True
    return attribute.startswith(_NAMESPACES) and not attribute.startswith(_CONTENTS)
