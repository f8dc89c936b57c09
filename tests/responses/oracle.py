"""Oracle of the response scheduler: checks its steps against the laws, sharing no code with it."""

from collections.abc import Sequence
from math import ceil, inf

from msgspec.structs import replace

from pipeline.config.settings import Prompt
from pipeline.interfaces.llm import CompletionRequest, Message
from pipeline.interfaces.request_log import CallReport
from pipeline.interfaces.turns import TurnEnded
from pipeline.protocol.events import (
    Event,
    ResponseCreated,
    ResponseDelta,
    ResponseDone,
    ResponsePlayed,
    ResponseSentence,
    ResponseSkipped,
)
from pipeline.responses.rate_limit import WINDOW
from pipeline.responses.steps import (
    CancelCall,
    Publish,
    PublishWait,
    Report,
    RunTool,
    StartCall,
    Step,
    StopTool,
)

MERGING = ("supersede", "queue", "conflate")


def plain(text: str) -> str:
    return "".join(sign for sign in text.casefold() if sign.isalnum())


class ResponseRecord:
    """One response, as a subscriber sees it."""

    def __init__(self, created: ResponseCreated) -> None:
        self.turns = created.turns
        self.question = ""
        self.text = ""
        self.sentences = 0
        self.done: ResponseDone | None = None
        self.played: int | None = None

    @property
    def heard(self) -> str:
        return self.text if self.played is None else self.text[: self.played]

    @property
    def dropped(self) -> bool:
        """Whether the server refused the turns, or spent its tokens on them in vain."""
        done = self.done
        refused = done is not None and done.error is not None and done.error.type == "refused"
        spent = done is not None and done.reason in ("max_tokens", "content_filter")
        return not self.text and (refused or spent)

    @property
    def cut(self) -> bool:
        done = self.done
        whole = done is not None and (done.status == "completed" or done.reason == "max_tokens")
        return not whole or len(self.heard) < len(self.text)


class Guess:
    """A call before the end of its turn; subscribers do not see it."""

    def __init__(self, start: StartCall, turn: int, text: str) -> None:
        self.id = start.response_id
        self.request = start.request
        self.turn = turn
        self.text = text


class Watched:
    """One prompt, as far as it can be seen from outside."""

    def __init__(self, name: str, prompt: Prompt) -> None:
        self.name = name
        self.prompt = prompt
        self.records: dict[str, ResponseRecord] = {}
        self.guess: Guess | None = None
        self.texts: dict[int, str] = {}  # of turns in its requests, sent or due
        self.wanted: list[int] = []
        self.again: set[int] = set()  # requested again by a client
        self.last_done: ResponseDone | None = None
        self.reported: set[int] = set()  # turns whose wait for quota was published
        self.met: set[int] = set()  # turns that began while a response was live
        self.skipped: set[int] = set()
        self.refused = False  # after refusals the length of the history is not determined

    @property
    def live(self) -> list[str]:
        return [key for key, record in self.records.items() if record.done is None]

    @property
    def plain_trigger(self) -> bool:
        prompt = self.prompt
        return prompt.every_turns == 1 and not prompt.after_silence and not prompt.at_end

    def asked(self, turn: int) -> bool:
        return any(turn in record.turns for record in self.records.values())

    def waiting(self) -> list[int]:
        return [turn for turn in self.wanted if not self.asked(turn)]

    def has_room(self) -> bool:
        live, prompt = len(self.live), self.prompt
        if prompt.policy == "supersede":
            return not live or prompt.interrupt != "never"
        return live < (prompt.parallel if prompt.policy == "parallel" else 1)

    def past(self, *, supersedes: bool) -> list[ResponseRecord]:
        """Return what counts as over for the next request."""
        return [record for record in self.records.values() if record.done is not None or supersedes]

    def unanswered(self, *, supersedes: bool) -> list[int]:
        if self.prompt.policy not in MERGING:
            return []
        newest = {turn: record for record in self.records.values() for turn in record.turns}
        over = self.past(supersedes=supersedes)
        return sorted(
            turn
            for turn, record in newest.items()
            if record in over and not record.heard and not record.dropped
        )


class Oracle:
    """Checks each step against laws 1 to 7, the budget, and what calls are running."""

    def __init__(self, prompts: dict[str, Prompt], limit: int) -> None:
        self.prompt_schedulers = {name: Watched(name, prompt) for name, prompt in prompts.items()}
        self.limit = limit
        self.now = 0.0
        self.vars: dict[str, str] = {}
        self.transcript: dict[int, tuple[str | None, str]] = {}
        self.speakers: dict[int, str | None] = {}  # as the turns ended
        self.running: set[str] = set()
        self.owner: dict[str, Watched] = {}  # of each call ever started
        self.models: dict[str, str] = {}  # of each call
        self.asked: dict[str, CompletionRequest] = {}  # the request of each call
        self.sent: dict[str, list[float]] = {}  # by model
        self.blocked: dict[str, float] = {}
        self.zeroed = False  # after playback reports the length of the history is not determined
        self.pausing: tuple[int, str, str | None] | None = None  # the pause being reported
        self.guesses = 0
        self.discarded = 0
        self.adopted = 0

    # --- steps -------------------------------------------------------------------------------

    def see(self, steps: Sequence[Step]) -> None:
        for step in steps:
            match step:
                case Publish(event):
                    self._published(event)
                case StartCall():
                    self._started(step)
                case CancelCall(response_id):
                    assert response_id in self.running, "cancelled a call that was not running"
                    self.running.discard(response_id)
                case Report(call):
                    self._reported(call)
                case PublishWait():
                    self._waits(step)
                case RunTool() | StopTool():
                    raise AssertionError("no prompt here offers tools")
        self._check_calls()

    def _reported(self, call: CallReport) -> None:
        if call.outcome == "discarded":
            self._was_discarded(call.response_id)

    def _waits(self, wait: PublishWait) -> None:
        """Law 12: turns that wait are reported, and only where no model has quota."""
        prompt_scheduler = self.prompt_schedulers[wait.prompt]
        assert set(wait.turns) <= set(self.transcript)
        assert not any(map(self.may_send, self.models_of(prompt_scheduler)))
        prompt_scheduler.reported |= set(wait.turns)

    def _published(self, event: Event) -> None:
        match event:
            case ResponseCreated():
                self._created(event)
            case ResponseDelta(response_id=key, delta=delta):
                record = self._open(key)
                assert delta
                record.text += delta
            case ResponseSentence(response_id=key, index=index):
                record = self._open(key)
                assert index == record.sentences
                assert event.text == record.text[event.start : event.end] != ""
                record.sentences += 1
            case ResponseDone():
                self._done(event)
            case ResponsePlayed():
                self._was_played(event)
            case ResponseSkipped():
                self._was_skipped(event)
            case _:
                raise AssertionError(f"not the scheduler's event: {event}")

    def _open(self, key: str) -> ResponseRecord:
        """Laws 1 and 2: an event names a response between its creation and its end."""
        record = self.owner[key].records.get(key) if key in self.owner else None
        for prompt_scheduler in self.prompt_schedulers.values():
            record = record or prompt_scheduler.records.get(key)
        assert record is not None, f"{key} was never created"
        assert record.done is None, f"{key} was done already"
        return record

    def _created(self, event: ResponseCreated) -> None:
        prompt_scheduler, key = self.prompt_schedulers[event.prompt], event.response_id
        assert all(key not in other.records for other in self.prompt_schedulers.values()), (
            "created twice"
        )
        assert len(set(event.turns)) == len(event.turns) > 0
        assert all(turn in self.transcript for turn in event.turns), "law 4: a turn not ended"
        before = prompt_scheduler.unanswered(supersedes=False)
        if prompt_scheduler.prompt.policy in MERGING:
            assert set(before) <= set(event.turns), "law 7: an unanswered turn was left out"
        for turn in event.turns:
            once = (
                turn in before or not prompt_scheduler.asked(turn) or turn in prompt_scheduler.again
            )
            assert once, f"law 7: turn {turn} asked again"
        if (
            prompt_scheduler.prompt.policy in ("supersede", "conflate")
            and prompt_scheduler.plain_trigger
        ):
            assert set(prompt_scheduler.waiting()) <= set(event.turns), (
                "a waiting turn was left out"
            )
        self._check_succession(prompt_scheduler, event)
        prompt_scheduler.records[key] = ResponseRecord(event)
        most = (
            prompt_scheduler.prompt.parallel if prompt_scheduler.prompt.policy == "parallel" else 1
        )
        assert len(prompt_scheduler.live) <= most, "law 3: too many live"
        if prompt_scheduler.guess is not None and prompt_scheduler.guess.id == key:
            self._was_adopted(prompt_scheduler, prompt_scheduler.guess, event)
        else:
            assert not event.speculative

    def _check_succession(self, prompt_scheduler: Watched, event: ResponseCreated) -> None:
        """Check law 3 for the new response and for the one it supersedes."""
        last = prompt_scheduler.last_done
        prompt_scheduler.last_done = None
        if event.supersedes is not None:
            assert prompt_scheduler.prompt.policy == "supersede"
            assert last is not None
            assert last.response_id == event.supersedes
            assert (last.status, last.reason) == ("cancelled", "superseded")
            assert last.superseded_by == event.response_id
        elif last is not None:
            assert last.superseded_by is None, "law 3: another was promised"

    def _was_adopted(self, prompt_scheduler: Watched, guess: Guess, event: ResponseCreated) -> None:
        assert event.speculative
        assert event.turns[-1] == guess.turn
        prompt_scheduler.records[guess.id].question = guess.request.messages[-1].content or ""
        prompt_scheduler.texts[guess.turn] = guess.text
        prompt_scheduler.guess = None
        self.adopted += 1

    def _done(self, event: ResponseDone) -> None:
        record = self._open(event.response_id)
        assert event.text == record.text, "the deltas are not the text"
        record.done = event
        prompt_scheduler = next(
            prompt_scheduler
            for prompt_scheduler in self.prompt_schedulers.values()
            if event.response_id in prompt_scheduler.records
        )
        if prompt_scheduler.last_done is None or prompt_scheduler.last_done.superseded_by is None:
            prompt_scheduler.last_done = event
        assert (event.error is not None) == (event.status == "failed")
        if event.error is not None and event.error.type == "refused":
            prompt_scheduler.refused = True
        if event.error is not None and event.error.code == 429 and not record.text:
            free = [
                each
                for each in self.later(prompt_scheduler, event.response_id)
                if self.may_send(each)
            ]
            assert not free, f"law 9: {free} could have been asked"
        assert event.usage.output_tokens >= 0

    def _was_played(self, event: ResponsePlayed) -> None:
        """Law 2: the one event that may name a response behind its end."""
        record = self.owner[event.response_id].records[event.response_id]
        assert event.text == record.text[: event.characters]
        record.played = len(event.text)
        rest = len(event.text) < len(record.text)
        assert event.interrupted == (rest or (record.done is not None and record.cut))
        self.zeroed = True

    def _was_skipped(self, event: ResponseSkipped) -> None:
        """A back-channel is wanted no more, if it met a response of this prompt."""
        watched = self.prompt_schedulers[event.prompt]
        (turn,) = event.turns
        assert turn in watched.wanted
        assert self.is_murmur(watched.prompt, self.transcript[turn][1])
        heard_in_part = any(record.played is not None for record in watched.records.values())
        assert turn in watched.met or watched.live or heard_in_part, "nothing ran"
        watched.wanted.remove(turn)
        watched.skipped.add(turn)

    def is_murmur(self, prompt: Prompt, text: str) -> bool:
        """Return whether a text of these tests takes nothing from a running response."""
        if prompt.policy != "supersede":
            return False
        is_short = prompt.interrupt == "words" and len(text.split()) < prompt.interrupt_words
        return is_short or plain(text) in ("yes", "mhm")

    def _started(self, start: StartCall) -> None:
        prompt_scheduler = self.prompt_schedulers[start.request.extra["prompt"]]
        key, model = start.response_id, start.request.model
        before = self.asked.get(key)
        if before is not None:
            self._asked_instead(prompt_scheduler, key, model)
        self.asked[key] = start.request
        self.owner[key] = prompt_scheduler
        self.running.add(key)
        self.models[key] = model
        self.sent.setdefault(model, []).append(self.now)
        if start.speculative:
            self._guessed(prompt_scheduler, start)
        elif before is not None:
            assert replace(before, model=model) == start.request
        else:
            turns = prompt_scheduler.records[key].turns
            last = turns[-1]
            scene = [prompt_scheduler.texts[turn] for turn in turns], self.speakers[last]
            assert self.fits(prompt_scheduler, start.request, *scene, supersedes=False), (
                f"law 7: {prompt_scheduler.name} asks {start.request.messages}"
            )
            prompt_scheduler.records[key].question = start.request.messages[-1].content or ""
        if self.limit:
            used = self.used(model)
            assert used <= self.limit, "over the limit"
            if start.speculative:
                assert used <= self.limit - ceil(self.limit * 0.3), "a guess in the reserve"

    def _asked_instead(self, prompt_scheduler: Watched, key: str, model: str) -> None:
        """A call was refused for want of room: only a sibling may be asked, without an event."""
        assert key not in self.running, "started twice"
        assert not self.may_send(self.models[key]), "asked again of another without need"
        assert model in self.later(prompt_scheduler, key)
        assert prompt_scheduler.records[key].done is None
        assert not prompt_scheduler.records[key].text

    def later(self, prompt_scheduler: Watched, key: str) -> Sequence[str]:
        models = (prompt_scheduler.prompt.model, *prompt_scheduler.prompt.siblings)
        return models[models.index(self.models[key]) + 1 :]

    def _guessed(self, prompt_scheduler: Watched, start: StartCall) -> None:
        assert prompt_scheduler.guess is None
        assert self.pausing is not None, "a guess without a pause"
        turn, text, speaker = self.pausing
        before = prompt_scheduler.unanswered(
            supersedes=prompt_scheduler.prompt.policy == "supersede"
        )
        texts = [prompt_scheduler.texts[one] for one in before] + [text]
        scene = texts, speaker, (turn, speaker, text)
        assert self.fits(prompt_scheduler, start.request, *scene, supersedes=True), (
            f"law 7: {prompt_scheduler.name} guesses {start.request.messages}"
        )
        prompt_scheduler.guess = Guess(start, turn, text)
        self.guesses += 1

    def _was_discarded(self, key: str) -> None:
        prompt_scheduler = self.owner[key]
        assert key not in prompt_scheduler.records, "law 4: a discarded guess was published"
        assert prompt_scheduler.guess is not None
        assert prompt_scheduler.guess.id == key
        prompt_scheduler.guess = None
        self.discarded += 1

    # --- running calls, and turns that must not wait ---------------------------------------------

    def _check_calls(self) -> None:
        known = {
            key
            for prompt_scheduler in self.prompt_schedulers.values()
            for key in prompt_scheduler.live
        }
        known |= {
            prompt_scheduler.guess.id
            for prompt_scheduler in self.prompt_schedulers.values()
            if prompt_scheduler.guess
        }
        assert self.running <= known, "a call of a response that is over still runs"

    def check_waiting(self) -> None:
        """Check that no turn waits that could be sent: neither for a slot nor for quota."""
        for prompt_scheduler in self.prompt_schedulers.values():
            if (
                prompt_scheduler.plain_trigger
                and prompt_scheduler.waiting()
                and prompt_scheduler.has_room()
            ):
                free = [each for each in self.models_of(prompt_scheduler) if self.may_send(each)]
                waits = set(prompt_scheduler.waiting())
                assert waits <= prompt_scheduler.reported, "law 12: a turn waits in silence"
                assert not free, (
                    f"{prompt_scheduler.name}: {prompt_scheduler.waiting()} waits, {free} is free"
                )

    def models_of(self, prompt_scheduler: Watched) -> Sequence[str]:
        return prompt_scheduler.prompt.model, *prompt_scheduler.prompt.siblings

    def used(self, model: str) -> int:
        return sum(at + WINDOW > self.now for at in self.sent.get(model, []))

    def may_send(self, model: str) -> bool:
        if self.now < self.blocked.get(model, -inf):
            return False
        return not self.limit or self.used(model) < self.limit

    def is_idle(self) -> bool:
        return all(
            not prompt_scheduler.live
            and not (prompt_scheduler.plain_trigger and prompt_scheduler.waiting())
            for prompt_scheduler in self.prompt_schedulers.values()
        )

    # --- contents of requests ---------------------------------------------------------------

    def wants(self, prompt: Prompt, text: str, speaker: str | None) -> bool:
        words = [plain(word) for word in text.split()]
        return (
            len(words) >= prompt.min_words
            and prompt.speaker in ("", speaker)
            and (not prompt.keyword or prompt.keyword in words)
        )

    def must_adopt(self, prompt_scheduler: Watched, event: TurnEnded) -> bool | None:
        """Law 5: whether the guess must be adopted; none where it cannot be seen from outside."""
        guess = prompt_scheduler.guess
        if guess is None:
            return False
        if guess.turn != event.turn or plain(guess.text) != plain(event.text):
            return False
        if not self.wants(prompt_scheduler.prompt, event.text, event.speaker):
            return False
        supersedes = prompt_scheduler.prompt.policy == "supersede"
        before = prompt_scheduler.unanswered(supersedes=supersedes)
        texts = [prompt_scheduler.texts[one] for one in before] + [guess.text]
        as_guessed = (guess.turn, event.speaker, guess.text)
        if not self.fits(
            prompt_scheduler, guess.request, texts, event.speaker, as_guessed, supersedes=supersedes
        ):
            return False
        ahead = [turn for turn in prompt_scheduler.waiting() if turn != event.turn]
        if not prompt_scheduler.has_room() or ahead:
            return False
        return None if self.zeroed or prompt_scheduler.again else True

    def fits(
        self,
        prompt_scheduler: Watched,
        request: CompletionRequest,
        texts: list[str],
        speaker: str | None,
        guessed: tuple[int, str | None, str] | None = None,
        *,
        supersedes: bool,
    ) -> bool:
        """Return whether ``request`` is what must be asked now for ``texts``."""
        prompt = prompt_scheduler.prompt
        messages = list(request.messages)
        if prompt.system:
            expected = self._fill(prompt.system, texts, speaker, guessed)
            if messages.pop(0) != Message("system", expected):
                return False
        if messages.pop() != Message("user", self._fill(prompt.user, texts, speaker, guessed)):
            return False
        roles = [message.role for message in messages]
        if roles != ["user", "assistant"] * (len(roles) // 2):
            return False
        over = prompt_scheduler.past(supersedes=supersedes and prompt.policy == "supersede")
        heard = [record for record in over if record.heard]
        history: list[Message] = []
        for record in heard[-prompt.history :] if prompt.history else ():
            mark = prompt.interrupted_mark if record.cut else ""
            history += [Message("user", record.question), Message("assistant", record.heard + mark)]
        if self.zeroed or prompt_scheduler.refused:
            return not messages or messages == history[-len(messages) :]
        return messages == history

    def _fill(
        self,
        template: str,
        texts: list[str],
        speaker: str | None,
        guessed: tuple[int, str | None, str] | None,
    ) -> str:
        heard = dict(self.transcript)
        if guessed is not None:
            heard[guessed[0]] = guessed[1:]
        spoken = [heard[turn] for turn in sorted(heard)]
        labelled = any(who for who, _ in spoken)
        lines = [f"{who or 'unknown'}: {text}" if labelled else text for who, text in spoken]
        turn = " ".join(texts)
        if template != "{{turn}}":
            turn = f"<turn>\n{turn}\n</turn>"
        values = {
            "{{turn}}": turn,
            "{{speaker}}": speaker or "",
            "{{transcript}}": "<transcript>\n" + "\n".join(lines) + "\n</transcript>",
            "{{vars.tone}}": self.vars.get("tone", ""),
        }
        for tag, value in values.items():
            template = template.replace(tag, value)
        return template
