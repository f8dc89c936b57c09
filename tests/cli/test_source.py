"""Audio source of ``run``, from its flags."""

import pytest

from pipeline.audio.pcm import Format
from pipeline.cli.commands import STANDARD_INPUT
from pipeline.cli.source import AudioSelection, open_source
from pipeline.errors import SettingsError


async def opened(**wish: object) -> Format:
    source = await open_source(AudioSelection(file=STANDARD_INPUT, **wish))  # type: ignore[arg-type]
    return source.format


async def test_raw_pcm_is_16_khz_mono_by_default() -> None:
    assert await opened() == Format()


async def test_raw_pcm_can_have_another_rate_and_encoding() -> None:
    assert await opened(sample_rate=8000, encoding="pcm_mulaw") == Format("pcm_mulaw", 8000)


async def test_two_channels_of_raw_pcm_are_mixed_or_kept_separate() -> None:
    assert await opened(channels="2", sample_rate=48_000) == Format()
    apart = Format(speakers=("channel 1", "channel 2"))
    assert await opened(channels="separate") == apart
    assert await opened(channels="2", separate=True) == apart
    assert await opened(separate=True) == Format()  # one channel: nothing to separate


async def test_channels_of_raw_pcm_can_be_named() -> None:
    assert (await opened(channels="separate", speakers=("a", "b"))).speakers == ("a", "b")


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"channels": "three"}, "--channels: 'three'"),
        ({"sample_rate": 4000}, "--sample-rate: 4000; it must be 8000 to 96000"),
    ],
)
async def test_invalid_flags_are_refused(wish: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        await opened(**wish)


async def test_flags_for_raw_pcm_are_refused_for_a_file() -> None:
    with pytest.raises(SettingsError, match=r"--sample-rate 8000: only for raw PCM on -; a\.wav"):
        await open_source(AudioSelection(file="a.wav", sample_rate=8000))
