"""Turn detector: when speech is decoded, sent and ended."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.embedded.turn_detection import (
    CHUNK,
    DetectorEvent,
    Job,
    PartialTurn,
    Tuning,
    TurnBegan,
    TurnDetector,
    TurnOver,
)
from pipeline.interfaces.stt import Word


class Listener:
    """A turn detector whose decodes take no time unless they are delayed."""

    def __init__(self, tuning: Tuning | None = None, *, text: str = "some words") -> None:
        self.hearing = TurnDetector(tuning or Tuning())
        self.text = text
        self.said: list[DetectorEvent] = []
        self.jobs: list[Job] = []
        self.holding = False

    def hear(self, seconds: float, voice: float) -> None:
        for _ in range(round(seconds / CHUNK)):
            self.hearing.chunk(voice)
            self.work()

    def speak(self, seconds: float) -> None:
        self.hear(seconds, 0.9)

    def silence(self, seconds: float) -> None:
        self.hear(seconds, 0.1)

    def work(self) -> None:
        while not self.holding and (job := self.hearing.next_job()):
            self.jobs.append(job)
            self.hearing.decoded(job, words(self.text, job), took=0.0)
        self.said += self.hearing.take()

    @property
    def ended(self) -> list[TurnOver]:
        return [said for said in self.said if isinstance(said, TurnOver)]

    @property
    def partials(self) -> list[PartialTurn]:
        return [said for said in self.said if isinstance(said, PartialTurn)]


def words(text: str, job: Job) -> tuple[Word, ...]:
    return tuple(Word(word, job.start * CHUNK, job.voice_end * CHUNK) for word in text.split())


def text_of(said: PartialTurn | TurnOver) -> str:
    return " ".join(word.text for word in said.words)


def test_silence_is_never_decoded() -> None:
    listener = Listener()
    listener.silence(10.0)

    assert listener.jobs == []
    assert listener.said == []


def test_a_click_is_not_speech() -> None:
    listener = Listener()
    listener.speak(2 * CHUNK)
    listener.silence(1.0)

    assert listener.said == []


def test_a_turn_starts_is_sent_pauses_and_ends_once() -> None:
    listener = Listener()
    listener.silence(1.0)
    listener.speak(1.0)
    listener.silence(1.0)

    assert isinstance(listener.said[0], TurnBegan)
    assert [partial.paused for partial in listener.partials] == [False, True]
    assert [(end.order, text_of(end)) for end in listener.ended] == [(0, "some words")]
    assert all(word.final for word in listener.ended[0].words)


def test_the_pause_decode_is_the_final_one_when_no_speech_follows() -> None:
    listener = Listener()
    listener.speak(1.0)
    listener.silence(0.3)
    decoded = len(listener.jobs)
    listener.silence(0.5)

    assert len(listener.ended) == 1
    assert len(listener.jobs) == decoded
    assert listener.jobs[-1].kind == "pause"


def test_speech_after_a_pause_continues_the_turn() -> None:
    listener = Listener()
    listener.speak(1.0)
    listener.silence(0.3)
    listener.text = "some words and more"
    listener.speak(1.0)
    assert listener.ended == []
    listener.silence(0.6)

    assert [text_of(end) for end in listener.ended] == ["some words and more"]


def test_a_partial_comes_only_once_the_last_is_decoded() -> None:
    listener = Listener()
    listener.speak(0.4)
    job = listener.jobs[-1]
    listener.hearing = TurnDetector(Tuning())
    listener.holding = True
    listener.speak(0.5)
    first = listener.hearing.next_job()
    listener.speak(5.0)

    assert first is not None
    assert listener.hearing.next_job() is None
    listener.hearing.decoded(first, words("late", job), took=1.0)
    assert listener.hearing.next_job() is not None


def test_a_slow_decode_reduces_the_number_of_partials() -> None:
    def jobs_of(took: float) -> int:
        hearing, count = TurnDetector(Tuning()), 0
        for _ in range(round(6.0 / CHUNK)):
            hearing.chunk(0.9)
            if job := hearing.next_job():
                count += 1
                hearing.decoded(job, words("word", job), took)
        return count

    assert jobs_of(0.1) > 2 * jobs_of(1.0)


def test_a_closed_segment_is_decoded_before_the_next_one_is_sent() -> None:
    listener = Listener()
    listener.speak(0.2)
    listener.holding = True
    listener.silence(0.6)
    listener.speak(1.0)
    listener.holding = False
    listener.speak(0.5)

    assert [job.kind for job in listener.jobs] == ["final", "partial"]
    assert [type(said) for said in listener.said] == [TurnBegan, TurnOver, TurnBegan, PartialTurn]


def test_a_forced_endpoint_ends_the_turn_and_speech_after_it_is_the_next() -> None:
    listener = Listener()
    listener.speak(1.0)
    listener.hearing.end_turn()
    listener.work()
    assert [end.order for end in listener.ended] == [0]

    listener.speak(1.0)
    listener.silence(0.6)
    assert [end.order for end in listener.ended] == [0, 1]


def test_a_forced_endpoint_in_silence_does_nothing() -> None:
    listener = Listener()
    listener.silence(1.0)
    listener.hearing.end_turn()
    listener.work()

    assert listener.said == []


def test_noise_without_words_is_not_a_turn_and_takes_no_number() -> None:
    listener = Listener(text="")
    listener.speak(1.0)
    listener.silence(1.0)
    assert listener.said == []

    listener.text = "words"
    listener.speak(1.0)
    listener.silence(1.0)
    assert [end.order for end in listener.ended] == [0]


def test_words_already_sent_are_not_removed_by_an_empty_final() -> None:
    listener = Listener()
    listener.speak(1.0)
    listener.text = ""
    listener.silence(1.0)

    assert [text_of(end) for end in listener.ended] == ["some words"]


def test_words_that_two_decodes_agree_on_have_higher_confidence() -> None:
    listener = Listener(text="and so am I")
    listener.speak(0.5)
    listener.text = "and so my fellow"
    listener.speak(0.4)

    assert [word.confidence for word in listener.partials[-1].words] == [1.0, 1.0, 0.5, 0.5]
    assert not any(word.final for word in listener.partials[-1].words)


def test_a_long_turn_is_cut_at_a_pause_and_stays_one_turn() -> None:
    listener = Listener(text="part")
    for _ in range(6):
        listener.speak(6.0)
        listener.silence(0.3)
    listener.silence(0.5)

    assert len(listener.ended) == 1
    assert text_of(listener.ended[0]) == "part part"
    assert max(job.end - job.start for job in listener.jobs) * CHUNK < 28.5


def test_speech_without_a_pause_is_cut_where_it_is_quietest() -> None:
    listener = Listener()
    listener.speak(27.0)
    listener.hear(3 * CHUNK, 0.6)
    listener.speak(5.0)
    listener.silence(0.6)

    finals = [job for job in listener.jobs if job.kind in ("final", "pause")]
    assert [round(job.end * CHUNK) for job in finals] == [27, 32]
    assert len(listener.ended) == 1


def test_the_silences_can_be_changed() -> None:
    listener = Listener(Tuning(pause=0.4, end=1.0))
    listener.speak(1.0)
    listener.silence(0.35)
    assert not any(partial.paused for partial in listener.partials)
    listener.silence(0.6)
    assert any(partial.paused for partial in listener.partials)
    assert listener.ended == []
    listener.silence(0.1)
    assert len(listener.ended) == 1


spells = st.lists(
    st.tuples(st.floats(0.0, 3.0), st.sampled_from([0.05, 0.4, 0.95]), st.booleans()), max_size=20
)


@given(spells, st.sampled_from(["", "a", "a b"]))
def test_every_turn_sent_ends_exactly_once(
    heard: list[tuple[float, float, bool]], text: str
) -> None:
    listener = Listener(text=text)
    for seconds, voice, holding in heard:
        listener.holding = holding
        listener.hear(seconds, voice)
    listener.holding = False
    listener.hearing.end_turn()
    while listener.hearing.waiting:
        listener.work()
    listener.work()

    orders = [said.order for said in listener.said if not isinstance(said, TurnBegan)]
    assert orders == sorted(orders)
    assert [end.order for end in listener.ended] == list(range(len(listener.ended)))
    assert {*orders} == {*range(len(listener.ended))}
    assert len(listener.ended) == sum(isinstance(said, TurnBegan) for said in listener.said)
    assert 0 <= listener.hearing.keep_from <= listener.hearing.now


def test_a_client_may_ask_for_longer_silences_and_not_for_shorter_ones() -> None:
    default = Tuning()
    short = default.asked(pause_ms=100, end_ms=100, threshold=None)
    assert (short.pause, short.end, short.threshold) == (default.pause, default.end, 0.5)
    longer = default.asked(pause_ms=400, end_ms=1500, threshold=0.3)
    assert (longer.pause, longer.end, longer.threshold) == (0.4, 1.5, 0.3)


def test_a_gap_within_a_phrase_ends_no_turn_of_a_client_that_asks_for_100_ms() -> None:
    listener = Listener(Tuning().asked(pause_ms=100, end_ms=100, threshold=None))
    for _ in range(6):
        listener.speak(0.6)
        listener.silence(0.25)
    listener.silence(1.0)
    assert len(listener.ended) == 1
