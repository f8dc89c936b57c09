"""Completions for HTTP callers: AssemblyAI's extensions carried out for any provider."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Protocol

import anyio

from pipeline.errors import GatewayTimeout
from pipeline.gateway.attempts import ProviderState, Target
from pipeline.gateway.fallback import FallbackGateway
from pipeline.gateway.repaired_reply import RepairedReply
from pipeline.gateway.vendor_fields import (
    RequestFallback,
    VendorFields,
    changed,
    refused,
    vendor_fields,
    with_transcript,
    without_vendor_fields,
)
from pipeline.interfaces.completions import Caller, CompletionCall, ModelEntry
from pipeline.interfaces.llm import CompletionRequest, Piece, Reply

LOOKUP = 10.0  #: seconds for the text of a transcript


class Router(Protocol):
    """Finds the servers of a model."""

    def targets(self, model: str) -> Sequence[Target]:
        """Return the servers to ask, in order. Raises ``GatewayRefused`` for an unknown model."""
        ...

    async def models(self) -> Sequence[ModelEntry]:
        """Return the models that can be requested. Raises a ``GatewayError``."""
        ...


class TranscriptLookup(Protocol):
    """Texts for ``{{ transcript }}``. Both return None where there is none for this caller."""

    async def of_session(self, caller: Caller, session_id: str) -> str | None:
        """Return the transcript of a session of ours."""
        ...

    async def stored(self, transcript_id: str) -> str | None:
        """Return the text of a transcript stored at AssemblyAI. Raises a ``GatewayError``."""
        ...


class GatewayService:
    """Satisfies ``interfaces.completions.Completions``."""

    def __init__(
        self, router: Router, provider_state: ProviderState, transcripts: TranscriptLookup
    ) -> None:
        self._router = router
        self._provider_state = provider_state
        self._transcripts = transcripts

    async def models(self) -> Sequence[ModelEntry]:
        """Return the models that can be requested. Raises a ``GatewayError``."""
        return await self._router.models()

    def open(self, call: CompletionCall) -> Reply:
        """Return the reply to ``call``; see ``interfaces.completions.Completions``."""
        fields = vendor_fields(call.request.extra)
        first = self._router.targets(call.request.model)
        others = [self._router.targets(each.model)[0] for each in fields.fallbacks]
        own = _with_fallbacks(first, others, fields)
        if not fields.transcript_id:
            if _is_vendors_alone(first, others):
                return self._forwarded(call, first, fields)
            return _mended(self._reply(call, call.request, own), fields)
        return PreparedReply(partial(self._with_transcript, call, first, others, fields))

    def _forwarded(
        self, call: CompletionCall, first: Sequence[Target], fields: VendorFields
    ) -> Reply:
        """Leave the extensions to AssemblyAI's gateway, its retry among them."""
        chosen = first[:1] if fields.fallbacks else first
        return self._reply(
            call, call.request, [replace(each, single_attempt=True) for each in chosen]
        )

    def _reply(
        self, call: CompletionCall, request: CompletionRequest, targets: Sequence[Target]
    ) -> Reply:
        if not request.stream:  # nothing comes before the whole answer, so none is late
            targets = [replace(target, first_token=0.0) for target in targets]
        chain = FallbackGateway(targets, provider_state=self._provider_state)
        return chain.open(request, speculative=call.speculative)

    async def _with_transcript(
        self,
        call: CompletionCall,
        first: Sequence[Target],
        others: Sequence[Target],
        fields: VendorFields,
    ) -> Reply:
        transcript_id = fields.transcript_id
        try:
            with anyio.fail_after(LOOKUP):
                text = await self._transcripts.of_session(call.caller, transcript_id)
                if text is None and _is_vendors_alone(first, others):
                    return self._forwarded(call, first, fields)
                if text is None:
                    text = await self._transcripts.stored(transcript_id)
        except TimeoutError:
            raise GatewayTimeout(
                f"the transcript {transcript_id} did not come in {LOOKUP:g} s"
            ) from None
        if text is None:
            raise refused("transcript_id", f"there is no transcript {transcript_id!r}", status=404)
        request = with_transcript(call.request, text)
        own = _with_fallbacks(first, others, fields)
        return _mended(self._reply(call, request, own), fields)


def _mended(reply: Reply, fields: VendorFields) -> Reply:
    return RepairedReply(reply) if fields.repair_json else reply


def _is_vendors_alone(first: Sequence[Target], others: Sequence[Target]) -> bool:
    """Return whether one server of AssemblyAI's can be left to carry the extensions out."""
    return all(each.is_vendor and each.gateway is first[0].gateway for each in (*first, *others))


def _with_fallbacks(
    first: Sequence[Target], others: Sequence[Target], fields: VendorFields
) -> Sequence[Target]:
    """Return the servers to ask; a request's own fallbacks replace those of the settings."""
    chosen = [
        replace(each, rewrite=partial(_stripped, each))
        for each in (first[:1] if fields.fallbacks else first)
    ]
    for fallback, target in zip(fields.fallbacks, others, strict=True):
        chosen.append(
            replace(
                target,
                rewrite=partial(_rewritten, fallback, target.is_vendor),
                has_own_messages="messages" in fallback.changes,
            )
        )
    return [
        replace(target, single_attempt=target.single_attempt or not fields.retry)
        for target in chosen
    ]


def _stripped(target: Target, request: CompletionRequest) -> CompletionRequest:
    """Return ``request`` with the changes of ``target``, without the extensions."""
    if target.rewrite is not None:
        request = target.rewrite(request)
    return without_vendor_fields(request, keep_region=target.is_vendor)


def _rewritten(
    fallback: RequestFallback, keep_region: bool, request: CompletionRequest
) -> CompletionRequest:
    return without_vendor_fields(changed(request, fallback), keep_region=keep_region)


class PreparedReply:
    """A reply whose request has to be completed first. Satisfies ``interfaces.llm.Reply``."""

    def __init__(self, prepare: Callable[[], Awaitable[Reply]]) -> None:
        self._prepare = prepare
        self._reply: Reply | None = None
        self._is_committed = False

    def begin(self) -> None:
        """Nothing can be sent before the request is complete."""

    @property
    def sent(self) -> bool:
        return self._reply is not None and self._reply.sent

    @property
    def streams(self) -> bool:
        return self._reply is None or self._reply.streams

    async def __aenter__(self) -> "PreparedReply":
        reply = await self._prepare()
        if self._is_committed:  # so that it does not wait for a slot as a speculative one
            reply.commit()
        await reply.__aenter__()
        self._reply = reply
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._reply is not None:
            await self._reply.__aexit__(kind, error, traceback)

    def drop(self) -> None:
        if self._reply is not None:
            self._reply.drop()

    def commit(self) -> None:
        self._is_committed = True
        if self._reply is not None:
            self._reply.commit()

    async def receive(self) -> Sequence[Piece]:
        assert self._reply is not None, "receive() before the reply was entered"
        return await self._reply.receive()
