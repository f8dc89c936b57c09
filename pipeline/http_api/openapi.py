"""OpenAPI 3.1 document of every HTTP path of the port. Pure.

The websockets are in the AsyncAPI document of the protocol.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.http_api.openapi_schemas import SCHEMAS

Part = Mapping[str, Any]

DESCRIPTION = """\
Chat completions in OpenAI's format with AssemblyAI's extensions, and the HTTP side of the speech
pipeline. Every error of /v1/chat/completions and /v1/models has OpenAI's shape and a request id;
other paths answer errors with a line of text. /v1/responses is not served."""


def document(version: str) -> Part:
    """Return the document of this version of the package."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "speech-llm-pipeline",
            "version": version,
            "description": DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "the server of this document"}],
        "security": [{}, {"bearer": []}],
        "paths": {**_completions(), **_sessions(), **_tokens(), **_operations(), **_files()},
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Required only if the server has tokens.",
                }
            },
        },
    }


def _completions() -> Part:
    stream = "Server-sent events: a ChatCompletionChunk each, then `data: [DONE]`."
    whole = _json("The answer.", "ChatCompletion")
    whole["content"]["text/event-stream"] = {"schema": {"type": "string", "description": stream}}
    whole["headers"] = _headers()
    return {
        "/v1/chat/completions": {
            "post": {
                "operationId": "createChatCompletion",
                "summary": "Complete a chat, in one piece or as a stream",
                "tags": ["completions"],
                "parameters": [
                    {
                        "name": "X-Conversation-Id",
                        "in": "header",
                        "schema": {"type": "string", "maxLength": 256},
                        "description": "As the field `conversation` of the body.",
                    }
                ],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": _ref("ChatCompletionRequest")}},
                },
                "responses": {
                    "200": whole,
                    **_errors(400, 401, 403, 404, 409, 413, 429, 502, 503, 504),
                },
            }
        },
        "/v1/models": {
            "get": {
                "operationId": "listModels",
                "summary": "List the models that the token may request",
                "tags": ["completions"],
                "responses": {"200": _json("The models.", "ModelList"), **_errors(401, 403, 502)},
            }
        },
        "/v1/models/{model}": {
            "get": {
                "operationId": "retrieveModel",
                "summary": "Describe one model",
                "tags": ["completions"],
                "parameters": [_path("model", "The model's id; it may hold slashes.")],
                "responses": {"200": _json("The model.", "Model"), **_errors(401, 403, 404, 502)},
            }
        },
    }


def _sessions() -> Part:
    session = _path("session_id", "The session's id.")
    return {
        "/v1/sessions": {
            "get": _operation(
                "listSessions",
                "List live and kept sessions",
                "sessions",
                {"200": _json("The sessions.", "SessionList"), **_texts(401, 403)},
            )
        },
        "/v1/sessions/{session_id}": {
            "parameters": [session],
            "delete": _operation(
                "deleteSession",
                "Remove all that is kept of an ended session",
                "sessions",
                _texts(200, 202, 401, 403, 404, 409, 503),
            ),
        },
        "/v1/sessions/{session_id}/audio": {
            "parameters": [session],
            "get": _operation(
                "downloadRecording",
                "Download the newest recording of a session",
                "sessions",
                {"200": _binary("A WAV file.", "audio/wav"), **_texts(401, 403, 404, 503)},
            ),
        },
    }


def _tokens() -> Part:
    fields = {
        "scope": "Names of scopes, with spaces or commas between them.",
        "session_id": "The only session that the token grants.",
        "expires": "Seconds until it expires.",
        "max_session": "Seconds that its connection may last.",
        "subject": "On whose behalf.",
    }
    issue: dict[str, Any] = _operation(
        "issueToken",
        "Issue a signed token that opens one websocket",
        "tokens",
        {"200": _json("The token.", "IssuedToken"), **_texts(400, 401, 403, 404)},
    )
    issue["parameters"] = [
        {"name": name, "in": "query", "schema": {"type": "string"}, "description": text}
        for name, text in fields.items()
    ]
    return {
        "/v1/tokens": {"post": issue},
        "/v1/token": {
            "get": _operation(
                "createSpeechToken",
                "Create a temporary token of AssemblyAI's streaming speech-to-text",
                "tokens",
                {"200": _json("The token.", "SpeechToken"), **_texts(400, 401, 403, 404, 503)},
            )
        },
    }


def _operations() -> Part:
    return {
        "/v1/requests": {
            "get": _operation(
                "listRequests",
                "List the newest calls of language models",
                "operations",
                {"200": _binary("One JSON object per line.", "application/jsonl"), **_texts(401)},
            )
        },
        "/v1/webhooks/retry": {
            "post": _operation(
                "retryWebhooks",
                "Retry deliveries that were given up",
                "operations",
                _texts(200, 401, 403, 404, 503),
            )
        },
        "/metrics": {
            "get": _operation(
                "readMetrics", "Metrics for Prometheus", "operations", _texts(200, 401)
            )
        },
        "/healthz": {
            "get": _operation("isAlive", "Liveness probe", "operations", _texts(200), public=True)
        },
        "/readyz": {
            "get": _operation(
                "isReady", "Readiness probe", "operations", _texts(200, 503), public=True
            )
        },
    }


def _files() -> Part:
    described = {"200": _binary("The document.", "application/json")}
    return {
        "/v1/openapi.json": {
            "get": _operation("describeHttp", "This document", "documents", described, public=True)
        },
        "/v1/asyncapi.json": {
            "get": _operation(
                "describeWebsockets",
                "AsyncAPI document of the websockets",
                "documents",
                described,
                public=True,
            )
        },
        "/": {
            "get": _operation(
                "openConsole",
                "Web console",
                "documents",
                {"200": _binary("A page.", "text/html")},
                public=True,
            )
        },
        "/web/{file}": {
            "parameters": [_path("file", "A file of the web console.")],
            "get": _operation(
                "readConsoleFile",
                "File of the web console",
                "documents",
                {"200": _binary("The file.", "text/javascript"), **_texts(304, 404)},
                public=True,
            ),
        },
    }


# --- parts ---------------------------------------------------------------------------------------


def _operation(
    name: str, summary: str, tag: str, responses: Part, *, public: bool = False
) -> dict[str, Any]:
    found = {"operationId": name, "summary": summary, "tags": [tag], "responses": responses}
    return {**found, "security": [{}]} if public else found


def _path(name: str, description: str) -> Part:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "description": description,
    }


def _ref(name: str) -> Part:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(description: str, schema: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": _ref(schema)}},
    }


def _binary(description: str, content_type: str) -> Part:
    return {"description": description, "content": {content_type: {"schema": {"type": "string"}}}}


def _errors(*statuses: int) -> Part:
    return {str(status): _json(REASONS[status], "Error") for status in statuses}


def _texts(*statuses: int) -> Part:
    return {str(status): _binary(REASONS[status], "text/plain") for status in statuses}


def _headers() -> Part:
    texts = {
        "X-Request-Id": "The request's id, as in the body and in the request log.",
        "X-Provider-Request-Id": "The provider's own id, where it gives one.",
        "X-RateLimit-Limit-Requests": "The narrowest limit of the token, or the provider's.",
        "X-RateLimit-Remaining-Requests": "Requests left of it.",
        "X-RateLimit-Reset-Requests": "Time until it is renewed, such as 12.5s.",
    }
    return {
        name: {"schema": {"type": "string"}, "description": text} for name, text in texts.items()
    }


REASONS: Mapping[int, str] = {
    200: "Done.",
    202: "Accepted: it takes a while.",
    304: "Not modified.",
    400: "The request is wrong; `param` names the field.",
    401: "The token is missing or wrong.",
    403: "The token does not allow this.",
    404: "There is no such thing.",
    409: "The session is still live, or a newer request of the conversation ended this one.",
    413: "The body is too long.",
    429: "A limit is reached; `retry-after` says for how long.",
    502: "The provider failed.",
    503: "The server has no room now.",
    504: "The provider did not answer in time.",
}
