"""Schemas of the OpenAPI document. Values only."""

from collections.abc import Mapping
from typing import Any

TEXT: Mapping[str, Any] = {"type": "string"}
COUNT: Mapping[str, Any] = {"type": "integer", "minimum": 0}
FLAG: Mapping[str, Any] = {"type": "boolean"}
OBJECT: Mapping[str, Any] = {"type": "object"}


def _object(required: tuple[str, ...], **properties: Any) -> Mapping[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


def _list(items: Any, **more: Any) -> Mapping[str, Any]:
    return {"type": "array", "items": items, **more}


def _ref(name: str) -> Mapping[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _said(schema: Mapping[str, Any], description: str) -> Mapping[str, Any]:
    return {**schema, "description": description}


MESSAGE = _object(
    ("role",),
    role={"enum": ["system", "developer", "user", "assistant", "tool", "function"]},
    content={"oneOf": [TEXT, _list(OBJECT), {"type": "null"}]},
    name=TEXT,
    tool_calls=_list(_ref("ToolCall")),
    tool_call_id=TEXT,
)
TOOL_CALL = _object(
    ("id", "type", "function"),
    id=TEXT,
    type={"const": "function"},
    function=_object(("name", "arguments"), name=TEXT, arguments=TEXT),
)
REQUEST: Mapping[str, Any] = {
    **_object(
        ("model",),
        model=_said(TEXT, "A model of /v1/models, or `default`."),
        messages=_list(_ref("Message"), minItems=1, maxItems=4096),
        prompt=_said(TEXT, "Instead of `messages`: one user message."),
        stream=FLAG,
        stream_options=_object((), include_usage=FLAG),
        max_tokens={"type": "integer", "minimum": 1},
        temperature={"type": "number", "minimum": 0, "maximum": 2},
        n=_said({"const": 1}, "One choice for each request."),
        tools=_list(OBJECT),
        tool_choice={"oneOf": [TEXT, OBJECT]},
        response_format=OBJECT,
        fallbacks=_said(
            _list(_object(("model",), model=TEXT)),
            "Models to ask when one fails, with the fields that are different for them.",
        ),
        fallback_config=_object(
            (), depth={"type": "integer", "minimum": 1, "maximum": 2}, retry=FLAG
        ),
        post_processing_steps=_list(_object(("type",), type={"const": "json-repair"})),
        transcript_id=_said(
            TEXT,
            "A transcript stored at AssemblyAI, or a session of this server that the token may"
            " read: its text takes the place of `{{ transcript }}` in the messages.",
        ),
        model_region={"const": "global"},
        conversation=_said(
            TEXT,
            "The conversation of the request, for one token. A newer request of it ends the older"
            " with 409 `superseded`.",
        ),
        conversation_policy=_said(
            {"enum": ["supersede", "queue", "parallel", "conflate"], "default": "supersede"},
            "What becomes of the earlier requests of the conversation.",
        ),
        speculative=_said(
            FLAG,
            "The request gives way to others. An identical committed request of its conversation"
            " gets its answer; any other one ends it.",
        ),
        share_identical=_said(
            FLAG,
            "The request may share the call of an identical one of the same token that has this"
            " field, too.",
        ),
    ),
    "additionalProperties": True,
    "description": "Fields that are not listed go to the model's server as they are.",
}
USAGE = _object(
    ("prompt_tokens", "completion_tokens", "total_tokens"),
    prompt_tokens=COUNT,
    completion_tokens=COUNT,
    total_tokens=COUNT,
    input_tokens=COUNT,
    output_tokens=COUNT,
    prompt_tokens_details=_object((), cached_tokens=COUNT),
    estimated=_said(FLAG, "The provider gave no counts: these are estimates."),
)
FINISH: Mapping[str, Any] = {"type": ["string", "null"]}


def _completion(name: str, choice: Mapping[str, Any]) -> Mapping[str, Any]:
    return _object(
        ("id", "object", "created", "model", "choices"),
        id=TEXT,
        object={"const": name},
        created=COUNT,
        model=_said(TEXT, "The model that answered."),
        choices=_list(choice),
        usage=_ref("Usage"),
        request_id=TEXT,
    )


SCHEMAS: Mapping[str, Any] = {
    "ChatCompletionRequest": REQUEST,
    "Message": MESSAGE,
    "ToolCall": TOOL_CALL,
    "Usage": USAGE,
    "ChatCompletion": _completion(
        "chat.completion",
        _object(
            ("index", "message", "finish_reason"),
            index=COUNT,
            message=_ref("Message"),
            finish_reason=FINISH,
        ),
    ),
    "ChatCompletionChunk": _completion(
        "chat.completion.chunk",
        _object(
            ("index", "delta", "finish_reason"), index=COUNT, delta=OBJECT, finish_reason=FINISH
        ),
    ),
    "Model": _object(
        ("id", "object", "created", "owned_by"),
        id=TEXT,
        object={"const": "model"},
        created=COUNT,
        owned_by=TEXT,
        name=TEXT,
        context_length=COUNT,
        supported_parameters=_list(TEXT),
        available_regions=_list(TEXT),
        pricing=_said(OBJECT, "USD per million tokens, by region."),
    ),
    "ModelList": _object(("object", "data"), object={"const": "list"}, data=_list(_ref("Model"))),
    "Error": _object(
        ("error", "request_id"),
        error=_object(
            ("message", "type"),
            message=TEXT,
            type=TEXT,
            param={"type": ["string", "null"]},
            code={"type": ["string", "null"]},
        ),
        request_id=TEXT,
    ),
    "SessionList": _object(
        ("sessions",),
        sessions=_list(
            _object(
                ("id", "source", "started", "status", "head", "subscribers"),
                id=TEXT,
                source=TEXT,
                started={"type": "string", "format": "date-time"},
                status={"enum": ["live", "ended"]},
                head=COUNT,
                subscribers=COUNT,
            )
        ),
    ),
    "IssuedToken": _object(
        ("token", "scopes", "session_id", "expires_at"),
        token=TEXT,
        scopes=_list(TEXT),
        session_id=TEXT,
        expires_at={"type": "string", "format": "date-time"},
    ),
    "SpeechToken": OBJECT,
}
