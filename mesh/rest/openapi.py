"""The OpenAPI 3.1 document of the bindings: what is mounted is what is described."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from mesh.rest.binding import Binding
from mesh.rest.convert import INTEGERS, enum_name
from meshapi.v1 import options_pb2

__all__ = ["openapi"]

Schema = dict[str, Any]

TIME: Mapping[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
}
PROBLEM: Schema = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "reason", "violations", "traceId"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "reason": {"type": "string"},
        "violations": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "description"],
                "properties": {"field": {"type": "string"}, "description": {"type": "string"}},
            },
        },
        "traceId": {"type": "string"},
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
KEY_HEADER: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Names the request: the same key and body is the same request.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
PREFER_HEADER: Schema = {
    "name": "Prefer",
    "in": "header",
    "description": "`wait=N`: how many seconds the answer may be held back for the end (RFC 7240).",
    "schema": {"type": "string", "pattern": r"^wait=[0-9]+$"},
}


def openapi(title: str, version: str, bound: Iterable[Binding]) -> Schema:
    """Describes the bindings as an OpenAPI 3.1 document."""
    schemas: dict[str, Schema] = {"Problem": PROBLEM}
    paths: dict[str, Schema] = {}
    for binding in bound:
        paths.setdefault(binding.path, {})[binding.verb.lower()] = _operation(binding, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            },
        },
    }


def _operation(binding: Binding, schemas: dict[str, Schema]) -> Schema:
    service = binding.method.containing_service.name.removesuffix("Service")
    operation: Schema = {
        "operationId": binding.method.name,
        "tags": [service],
        "summary": re.sub(r"(?<=[a-z])(?=[A-Z])", " ", binding.method.name).capitalize(),
        "parameters": _parameters(binding),
        "responses": {
            "201" if binding.creates else "200": {
                "description": "Done.",
                "content": _content(binding, schemas),
            },
            "default": {
                "description": "A problem (RFC 9457).",
                "content": {
                    "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
                },
            },
        },
    }
    if binding.has_body:
        body = _object(binding.method.input_type, schemas, without=_outside_the_body(binding))
        _close(body, schemas)
        operation["requestBody"] = {
            "required": bool(body.get("required")),
            "content": {"application/json": {"schema": body}},
        }
    if binding.policy.access in (options_pb2.ACCESS_USER, options_pb2.ACCESS_STAFF):
        operation["security"] = [{"bearer": list(binding.policy.scopes)}]
        if binding.policy.key_scope:
            operation["security"].append({"apiKey": [binding.policy.key_scope]})
    return operation


def _content(binding: Binding, schemas: dict[str, Schema]) -> Schema:
    if binding.file_field:
        return {"*/*": {"schema": {"type": "string", "format": "binary"}}}
    if binding.method.server_streaming:
        return {"text/event-stream": {"schema": {"type": "string"}}}
    return {"application/json": {"schema": _message(binding.method.output_type, schemas)}}


def _path_fields(binding: Binding) -> list[str]:
    return re.findall(r"{(\w+)}", binding.path)


def _outside_the_body(binding: Binding) -> set[str]:
    outside = {*_path_fields(binding), "wait"}
    if binding.policy.idempotency_key:
        outside.add("request_id")
    return outside


def _parameters(binding: Binding) -> list[Schema]:
    fields = binding.method.input_type.fields_by_name
    parameters: list[Schema] = [
        {"name": name, "in": "path", "required": True, "schema": _field(fields[name], {})}
        for name in _path_fields(binding)
    ]
    if not binding.has_body:
        parameters += [
            {
                "name": field.json_name,
                "in": "query",
                "required": "minLength" in (schema := _field(field, {})),
                "schema": schema,
            }
            for name, field in fields.items()
            if name not in _path_fields(binding)
        ]
    if binding.policy.idempotency_key:
        required = binding.policy.idempotency_key == options_pb2.IDEMPOTENCY_KEY_REQUIRED
        parameters.append({**KEY_HEADER, "required": required})
    if "wait" in fields:
        parameters.append(PREFER_HEADER)
    return parameters


def _message(descriptor: Descriptor, schemas: dict[str, Schema]) -> Schema:
    name = descriptor.full_name.removeprefix("bank.")
    if name not in schemas:
        schemas[name] = {}
        schemas[name] = _object(descriptor, schemas)
    return {"$ref": f"#/components/schemas/{name}"}


def _object(
    descriptor: Descriptor, schemas: dict[str, Schema], without: Iterable[str] = ()
) -> Schema:
    fields = [field for field in descriptor.fields if field.name not in set(without)]
    properties = {field.json_name: _field(field, schemas) for field in fields}
    described: Schema = {"type": "object", "properties": properties}
    choices = [
        [{"required": [field.json_name]} for field in choice.fields]
        for choice in descriptor.oneofs
        if choice.GetOptions().Extensions[validate_pb2.oneof].required
    ]
    if choices:
        described["oneOf"] = choices[0]
    if required := [field.json_name for field in fields if _is_required(field)]:
        described["required"] = required
    return described


def _close(schema: Schema, schemas: dict[str, Schema]) -> None:
    """Says of an object that is sent, and of those in it, that unknown members are refused."""
    if name := schema.get("$ref", "").rpartition("/")[2]:
        schema = schemas[name]
    if "additionalProperties" not in schema and "properties" in schema:
        schema["additionalProperties"] = False
        for member in schema["properties"].values():
            _close(member.get("items", member), schemas)


def _rules(field: FieldDescriptor) -> validate_pb2.FieldRules:
    rules: validate_pb2.FieldRules = field.GetOptions().Extensions[validate_pb2.field]
    return rules


def _is_required(field: FieldDescriptor) -> bool:
    rules = _rules(field)
    in_a_choice = field.containing_oneof is not None
    return not in_a_choice and (rules.required or rules.string.min_len > 0 or rules.string.uuid)


def _field(field: FieldDescriptor, schemas: dict[str, Schema]) -> Schema:
    one = _one(field, schemas)
    return {"type": "array", "items": one} if field.is_repeated else one


def _one(field: FieldDescriptor, schemas: dict[str, Schema]) -> Schema:
    if field.message_type is not None:
        return dict(TIME.get(field.message_type.full_name) or _message(field.message_type, schemas))
    if field.enum_type is not None:
        return _enum(field.enum_type)
    if field.type in INTEGERS:
        return _integer(field)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return {"type": "boolean"}
    return _string(field)


def _enum(enum: EnumDescriptor) -> Schema:
    return {"type": "string", "enum": [enum_name(enum, value.number) for value in enum.values]}


def _integer(field: FieldDescriptor) -> Schema:
    low, high = INTEGERS[field.type]
    if high > 2**32:
        # ProtoJSON: 64-bit integers travel as strings, which no JavaScript number rounds.
        return {"type": ["string", "integer"], "format": "int64", "pattern": r"^-?[0-9]{1,19}$"}
    rules = _rules(field).int32
    return {
        "type": "integer",
        "format": "int32",
        "minimum": rules.gte if rules.HasField("gte") else low,
        "maximum": rules.lte if rules.HasField("lte") else high,
    }


def _string(field: FieldDescriptor) -> Schema:
    rules = _rules(field).string
    schema: Schema = {"type": "string"}
    if rules.uuid:
        schema["format"] = "uuid"
    if rules.email:
        schema["format"] = "email"
    if rules.min_len:
        schema["minLength"] = rules.min_len
    if rules.max_len:
        schema["maxLength"] = rules.max_len
    if rules.pattern:
        schema["pattern"] = rules.pattern
    return schema
