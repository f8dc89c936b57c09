"""Turn shapes of the vendor, one row each, as documented."""

import pytest

from pipeline.interfaces.stt import Heard, SpeakerRevised, SpeechBegan, StreamClosed, StreamLost
from tests.turns.shapes import end, lines, opened, part, pause, track

# Sources, as cited beside the rows:
#   [sequence]  AssemblyAI docs, Streaming message sequence, 2026-03 and mid-2026
#   [u3]        AssemblyAI docs, Universal-3 Pro message sequence and partials, mid-2026
#   [turns]     AssemblyAI docs, Turn detection, 2026-03
#   [speakers]  AssemblyAI docs, Streaming diarization and multichannel, mid-2026
#   [seen]      public live tests of AssemblyAI's APIs, 2026-09-24
SHAPES: dict[str, tuple[list[Heard], list[str]]] = {
    # [sequence] newer English behaviour: text is formatted as it is produced, one end is enough
    "one end, formatted already": (
        [part(0, "Book the", formatted=True), end(0, "Book the late train.")],
        ["1 started", "1: Book the", "1 ended: Book the late train."],
    ),
    # [sequence] format_turns: the unformatted end, then the formatted copy of the same order
    "two ends, the second formatted": (
        [
            part(0, "book the"),
            end(0, "book the late train", formatted=False),
            end(0, "Book the late train."),
        ],
        [
            "1 started",
            "1: book the",
            "1 ended: book the late train",
            "1 revised: Book the late train.",
        ],
    ),
    # [sequence] an end repeated word for word changes nothing
    "two ends, the same text": (
        [end(0, "Yes."), end(0, "Yes.")],
        ["1 started", "1 ended: Yes."],
    ),
    # [sequence] the formatted copy may come after the next turn has begun
    "the formatted copy comes in the next turn": (
        [end(0, "yes", formatted=False), part(1, "and"), end(0, "Yes."), end(1, "And no.")],
        ["1 started", "1 ended: yes", "2 started", "2: and", "1 revised: Yes.", "2 ended: And no."],
    ),
    # [sequence] Universal-Streaming: final words grow; an empty transcript with a word not
    # final reaches us as that word; the utterance is sent before the turn ends
    "words grow, the utterance comes early": (
        [
            part(0, ""),
            part(0, "i"),
            part(0, "i want"),
            pause(0, "i want tea"),
            end(0, "i want tea", formatted=False),
        ],
        [
            "1 started",
            "1: i",
            "1: i want",
            "1: i want tea",
            "1 paused: i want tea",
            "1 ended: i want tea",
        ],
    ),
    # [sequence] a turn may hold several utterances
    "several utterances in one turn": (
        [pause(0, "wait"), part(0, "wait for"), pause(0, "wait for me"), end(0, "Wait for me.")],
        [
            "1 started",
            "1: wait",
            "1 paused: wait",
            "1: wait for",
            "1: wait for me",
            "1 paused: wait for me",
            "1 ended: Wait for me.",
        ],
    ),
    # [u3] every partial is the whole turn; earlier words change
    "partials replace one another": (
        [part(0, "I scream"), part(0, "Ice cream—"), end(0, "Ice cream, please.")],
        ["1 started", "1: I scream", "1: Ice cream—", "1 ended: Ice cream, please."],
    ),
    # [u3] the final may differ from the last partial in any word
    "the final differs from the last partial": (
        [part(0, "for tea to"), end(0, "Forty-two.")],
        ["1 started", "1: for tea to", "1 ended: Forty-two."],
    ),
    # [u3] one partial per silence that does not end the turn
    "a silence partial, then more words": (
        [
            pause(0, "My number is"),
            pause(0, "My number is"),
            part(0, "My number is five"),
            end(0, "My number is five."),
        ],
        [
            "1 started",
            "1: My number is",
            "1 paused: My number is",
            "1 paused: My number is",
            "1: My number is five",
            "1 ended: My number is five.",
        ],
    ),
    # [u3] partials with turn_is_formatted false, as documented
    "unformatted partials, formatted final": (
        [part(0, "hello", formatted=False), end(0, "Hello.")],
        ["1 started", "1: hello", "1 ended: Hello."],
    ),
    # [seen] 3.5 Pro sends turn_is_formatted true on partials: it does not mark an end
    "formatted partials, formatted final": (
        [part(0, "Hello.", formatted=True), part(0, "Hello. It", formatted=True), end(0, "Hi. It")],
        ["1 started", "1: Hello.", "1: Hello. It", "1 ended: Hi. It"],
    ),
    # [u3] on 3.5 and later the confidence rises while the turn is held
    "confidence rises across partials": (
        [
            part(0, "So", confidence=0.1),
            part(0, "So", confidence=0.5),
            part(0, "So", confidence=0.7),
            end(0, "So."),
        ],
        ["1 started", "1: So", "1 paused: So", "1 ended: So."],
    ),
    # [seen] an empty final on Terminate
    "an empty final without words before": (
        [end(0, "", formatted=False)],
        [],
    ),
    # [seen] the same, with a partial before it: its words are not lost
    "an empty final after words": (
        [part(0, "good"), part(0, "good bye"), end(0, "")],
        ["1 started", "1: good", "1: good bye", "1 ended: good bye"],
    ),
    # [u3] an early partial may be empty and is retried
    "empty partials around words": (
        [part(0, ""), part(0, "well"), part(0, ""), end(0, "Well.")],
        ["1 started", "1: well", "1 ended: Well."],
    ),
    # [sequence] an empty end of an order that never had words leaves the open turn alone
    "an empty final of another order": (
        [part(0, "hold"), end(1, ""), part(0, "hold on"), end(0, "Hold on.")],
        ["1 started", "1: hold", "1: hold on", "1 ended: Hold on."],
    ),
    # [turns] a burst: whole turns at once, without a partial
    "several turns in one read": (
        [end(0, "One."), end(1, "Two."), part(2, "three"), end(2, "Three."), end(3, "Four.")],
        [
            "1 started",
            "1 ended: One.",
            "2 started",
            "2 ended: Two.",
            "3 started",
            "3: three",
            "3 ended: Three.",
            "4 started",
            "4 ended: Four.",
        ],
    ),
    # [sequence] gaps in turn_order are not documented; our numbers have none
    "a gap in turn_order": (
        [end(0, "One."), end(4, "Two.")],
        ["1 started", "1 ended: One.", "2 started", "2 ended: Two."],
    ),
    # [sequence] a new connection counts from 0 again
    "turn_order restarts at a new connection": (
        [opened(), end(0, "One."), StreamLost("reset"), opened(9.0), end(0, "Two.")],
        ["1 started", "1 ended: One.", "2 started", "2 ended: Two."],
    ),
    # [sequence] the same while a turn is open: it continues under its number
    "a new connection inside a turn": (
        [
            opened(),
            end(0, "One."),
            part(1, "and then"),
            StreamLost("reset"),
            opened(4.0),
            part(0, "and then we"),
            end(0, "And then we left."),
            end(1, "Three."),
        ],
        [
            "1 started",
            "1 ended: One.",
            "2 started",
            "2: and then",
            "2: and then we",
            "2 ended: And then we left.",
            "3 started",
            "3 ended: Three.",
        ],
    ),
    # [seen] the new connection has no words of the turn: its earlier words stay
    "a new connection ends the open turn without words": (
        [opened(), part(0, "half a"), opened(2.0), end(0, "")],
        ["1 started", "1: half a", "1 ended: half a"],
    ),
    # [sequence] a copy of the old connection's order is another turn on the new one
    "an old order means nothing on a new connection": (
        [opened(), end(0, "one"), opened(3.0), part(0, "two"), end(0, "Two.")],
        ["1 started", "1 ended: one", "2 started", "2: two", "2 ended: Two."],
    ),
    # [sequence] a partial that comes after the end of its turn changes nothing
    "a late partial": (
        [end(0, "Done."), part(0, "don"), pause(0, "done"), end(1, "Next.")],
        ["1 started", "1 ended: Done.", "2 started", "2 ended: Next."],
    ),
    # [turns] the end was never sent: the next turn's words imply it
    "the next turn begins without an end of this one": (
        [part(0, "to be"), part(1, "or"), end(1, "Or not.")],
        ["1 started", "1: to be", "1 ended: to be", "2 started", "2: or", "2 ended: Or not."],
    ),
    # [turns] and should the end come late after all, it only revises
    "a missing end comes late": (
        [part(0, "to be"), part(1, "or"), end(0, "To be."), end(1, "Or not.")],
        [
            "1 started",
            "1: to be",
            "1 ended: to be",
            "2 started",
            "2: or",
            "1 revised: To be.",
            "2 ended: Or not.",
        ],
    ),
    # [sequence] Terminate flushes the open turn; if it does not, its words are kept
    "the connection closes inside a turn": (
        [opened(), part(0, "last words"), StreamClosed()],
        ["1 started", "1: last words", "1 ended: last words"],
    ),
    # [speakers] revisions name turns that have ended, just before Termination
    "the speaker of an ended turn is revised": (
        [end(0, "Hi.", speaker="A"), end(1, "Ho.", speaker="A"), SpeakerRevised(1, "B")],
        ["1 started", "1 ended: Hi.", "2 started", "2 ended: Ho.", "2 revised:  (B)"],
    ),
    # [speakers] only changes are reported
    "a speaker is revised to the same": (
        [end(0, "Hi.", speaker="A"), SpeakerRevised(0, "A"), SpeakerRevised(7, "B")],
        ["1 started", "1 ended: Hi."],
    ),
    # [sequence] Universal-3: SpeechStarted comes before the first Turn
    "speech is announced": (
        [SpeechBegan(2.5), part(0, "yes"), end(0, "Yes.")],
        ["speech at 2.5", "1 started", "1: yes", "1 ended: Yes."],
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_turn_shape(shape: str) -> None:
    heard, expected = SHAPES[shape]
    assert lines(track(heard)) == expected
