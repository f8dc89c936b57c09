"""Choice of the engine of speech-to-text or the language model, with the reason. Pure."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from pipeline.errors import SettingsError
from pipeline.runtime.hosts import shown

Vendor = Literal["assemblyai"]
Name = Literal[Vendor, "local", "in-stream", "custom", "none"]
Region = Literal["", "us", "eu"]
_REGIONS: Mapping[str, Region] = {"us": "us", "eu": "eu"}

#: by part, the vendors that ``engine`` can name; their STT protocols: app/stt_clients.py
VENDORS: Mapping[str, tuple[Vendor, ...]] = {"stt": ("assemblyai",), "llm": ("assemblyai",)}


class EngineChoice(Struct, frozen=True):
    """A chosen engine, and the reason as shown to the user."""

    name: Name
    why: str
    address: str = ""  #: of a custom engine; its query may hold a key
    region: Region = ""  #: of a vendor, where the engine names it

    @property
    def shown(self) -> str:
        """The address or name, as it may be shown."""
        return shown(self.address) or "/".join(filter(None, (self.name, self.region)))


def choose(part: str, engine: str, key_source: str, *, has_key: bool) -> EngineChoice:
    """Return the engine of ``part`` (``stt`` or ``llm``) for the setting ``engine``.

    ``has_key`` is whether ``key_source`` led to a key. Raises ``SettingsError`` when ``engine``
    names a vendor and there is none.
    """
    name = key_source.partition(":")[2] or "key"
    if engine == "auto":
        if has_key:
            return EngineChoice("assemblyai", f"{name} is set, so assemblyai")
        return EngineChoice("local", f"no {name}, so local")
    named, _, place = engine.partition("/")
    for vendor in VENDORS[part]:
        if named == vendor:
            if not has_key:
                raise SettingsError(
                    f"{part}: {vendor} needs a key, and {key_source or 'the empty key setting'} "
                    f"holds none: set {name}, or use --{part} local"
                )
            region = _REGIONS.get(place, "")
            return EngineChoice(vendor, "as asked", region=region)
    if engine == "local":
        return EngineChoice("local", "as asked")
    if engine == "in-stream":
        return EngineChoice("in-stream", "as asked")
    return EngineChoice("custom", "as asked", engine)
