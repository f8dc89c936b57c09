"""The prompts that run when the settings name none. Pure."""

from collections.abc import Mapping

from pipeline.settings import Example, Prompt

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

LOCAL_PROMPTS: Mapping[str, Prompt] = {
    "reply": Prompt(
        system="Reply in one short sentence.",
        examples=(
            Example(user="What is the capital of France?", assistant="The capital is Paris."),
            Example(user="It rained all day.", assistant="That sounds like a wet day."),
            Example(user="Thank you.", assistant="You are welcome."),
        ),
        max_tokens=40,
        temperature=0.0,
        history=2,
        extra={"repeat_penalty": 1.1},
    )
}
