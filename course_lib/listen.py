"""Sound from a score, offline: in the notebook and on disk."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
import symusic

SAMPLE_RATE = 44_100
WRITE_BLOCK = (
    2**16
)  # frames handed to the Ogg encoder at once: some libsndfile versions overflow on long arrays


@cache
def _synthesizer():
    """symusic's synthesizer with the soundfont that pretty_midi carries, or None where it cannot be had."""
    try:
        import pretty_midi

        (soundfont,) = Path(pretty_midi.__file__).parent.rglob("TimGM6mb.sf2")
        return symusic.Synthesizer(str(soundfont), SAMPLE_RATE)
    except Exception as problem:
        print(f"No soundfont synthesizer here ({problem}): plain sine tones will be heard instead.")
        return None


def render(score: symusic.Score) -> np.ndarray:
    """Audio of a score: float32 ``(samples, 2)`` at 44,100 Hz, its peak at 0.9 unless it is silent.

    Falls back on pretty_midi's sine tones, and says so, where the soundfont cannot be used.
    """
    synthesizer = _synthesizer()
    if score.note_num() == 0:
        return np.zeros((SAMPLE_RATE, 2), "float32")
    audio = (
        _sine_tones(score) if synthesizer is None else np.asarray(synthesizer.render(score, stereo=True)).T
    )
    return np.ascontiguousarray(audio * (0.9 / max(1e-9, np.abs(audio).max())), "float32")


def _sine_tones(score: symusic.Score) -> np.ndarray:
    import pretty_midi

    song = pretty_midi.PrettyMIDI()
    for track in score.to("second").tracks:
        instrument = pretty_midi.Instrument(track.program, track.is_drum)
        instrument.notes = [pretty_midi.Note(n.velocity, n.pitch, n.start, n.end) for n in track.notes]
        song.instruments.append(instrument)
    mono = song.synthesize(SAMPLE_RATE)
    return np.stack([mono, mono], axis=1)


def ogg(score: symusic.Score) -> bytes:
    """The sound of a score as an Ogg Vorbis file. Without the soundfile library: ImportError or OSError."""
    import soundfile

    audio, content = render(score), io.BytesIO()
    with soundfile.SoundFile(content, "w", SAMPLE_RATE, 2, format="OGG", subtype="VORBIS") as file:
        for start in range(0, len(audio), WRITE_BLOCK):
            file.write(audio[start : start + WRITE_BLOCK])
    return content.getvalue()


def save(score: symusic.Score, stem: str | Path) -> tuple[Path, Path | None]:
    """Write ``stem.mid`` and ``stem.ogg`` and return both paths.

    The second is None, and a line says why, where Ogg cannot be written (no soundfile library). Each file is
    written under a temporary name first, so that none is left half-written. Raises OSError on a full disk.
    """
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    midi, sound = stem.with_name(stem.name + ".mid"), stem.with_name(stem.name + ".ogg")
    _write(midi, score.dumps_midi())
    try:
        content = ogg(score)
    except (ImportError, OSError) as problem:
        print(f"No Ogg file written: the soundfile library cannot be used ({problem}).")
        return midi, None
    _write(sound, content)
    return midi, sound


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def play(score: symusic.Score):
    """A player for the notebook, its sound embedded as Ogg (as WAV, ten times larger, without soundfile)."""
    from IPython.display import Audio

    try:
        player = Audio(ogg(score))
        player.mimetype = "audio/ogg"
        return player
    except (ImportError, OSError):
        return Audio(render(score).T, rate=SAMPLE_RATE, normalize=False)
