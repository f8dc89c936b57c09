"""Default prompts, used when the settings name none. Pure."""

from collections.abc import Mapping

from msgspec.structs import replace

from pipeline.config.settings import Example, Prompt

#: small, fast and in both regions (AssemblyAI docs, available models, September 2026)
ASSEMBLYAI_MODEL = "gemini-2.5-flash-lite"

ASSEMBLYAI_PROMPTS: Mapping[str, Prompt] = {
    "reply": Prompt(
        system=(
            "You are a helpful voice assistant in a live conversation. The user's words come"
            " from speech recognition and may hold mistakes. Answer in one or two short spoken"
            " sentences, without lists or markup."
        ),
        max_tokens=200,
    )
}

#: in-stream replies cannot be cancelled, and have no history
IN_STREAM_PROMPTS: Mapping[str, Prompt] = {
    name: replace(prompt, policy="parallel", history=0)
    for name, prompt in ASSEMBLYAI_PROMPTS.items()
}

LOCAL_PROMPTS: Mapping[str, Prompt] = {
    "reply": Prompt(
        system="Reply in one short sentence.",
        examples=(
            Example(
                user="The train leaves at nine.", assistant="Then let us be there before nine."
            ),
            Example(user="It is raining again.", assistant="Then take an umbrella with you."),
            Example(user="She was kind to all of us.", assistant="She sounds like a good friend."),
        ),
        max_tokens=40,
        temperature=0.0,
        history=0,
        extra={"repeat_penalty": 1.1, "stop": ["\n"]},
    )
}

#: for a run over a stored transcript: the gateway inserts it in place of the tag
STORED_PROMPTS: Mapping[str, Prompt] = {
    "summary": Prompt(
        system=(
            "You are given the transcript of a recording, made by speech recognition: it may hold"
            " mistakes. Sum it up in a few sentences, then list what was decided or promised, if"
            " anything was."
        ),
        user="<transcript>\n{{ transcript }}\n</transcript>",
        policy="queue",
        max_tokens=1000,
        history=0,
    )
}
