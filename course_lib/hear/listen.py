"""Sound from a score, offline: in the notebook and on disk."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import symusic

from course_lib import files
from course_lib.hear import soundfont

COMPRESSION = 0.8  # of Ogg, 0 to 1: half the size of the default, the spectrum to 8 kHz off by 0.7 dB on average
WRITE_BLOCK = 2**16  # frames handed to the Ogg encoder at once: some libsndfile versions overflow on long arrays


def render(score: symusic.Score) -> np.ndarray:
    """Audio of a score: float32 ``(samples, 2)`` at 44,100 Hz, its peak at 0.9 unless it is silent.

    Falls back on pretty_midi's sine tones, and says so, where the soundfont cannot be used.
    """
    audio = _audio(score)
    return np.ascontiguousarray(audio * _gain(audio), "float32")


def _audio(score: symusic.Score) -> np.ndarray:
    """(samples, 2), as loud as the synthesizer makes it."""
    if score.note_num() == 0:
        return np.zeros((soundfont.SAMPLE_RATE, 2), "float32")
    synthesizer = soundfont.synthesizer()
    return _sine_tones(score) if synthesizer is None else np.asarray(synthesizer.render(score, stereo=True)).T


def _gain(audio: np.ndarray) -> float:
    return 0.9 / max(1e-9, np.abs(audio).max())


def _sine_tones(score: symusic.Score) -> np.ndarray:
    import pretty_midi

    song = pretty_midi.PrettyMIDI()
    for track in score.to("second").tracks:
        instrument = pretty_midi.Instrument(track.program, track.is_drum)
        instrument.notes = [pretty_midi.Note(n.velocity, n.pitch, n.start, n.end) for n in track.notes]
        song.instruments.append(instrument)
    mono = song.synthesize(soundfont.SAMPLE_RATE)
    return np.stack([mono, mono], axis=1)


def ogg(score: symusic.Score) -> bytes:
    """The sound of a score as an Ogg Vorbis file. Without the soundfile library: ImportError or OSError."""
    return _encoded(render(score))


def _encoded(audio: np.ndarray) -> bytes:
    import soundfile

    content = io.BytesIO()
    kind = {"format": "OGG", "subtype": "VORBIS", "compression_level": COMPRESSION}
    with soundfile.SoundFile(content, "w", soundfont.SAMPLE_RATE, 2, **kind) as file:
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
    with files.atomic_write(midi) as partial:
        partial.write_bytes(score.dumps_midi())
    try:
        content = ogg(score)
    except (ImportError, OSError) as problem:
        print(f"No Ogg file written: the soundfile library cannot be used ({problem}).")
        sound.unlink(missing_ok=True)  # of other notes than those just written
        return midi, None
    with files.atomic_write(sound) as partial:
        partial.write_bytes(content)
    return midi, sound


def play(score: symusic.Score):
    """A player for the notebook, its sound embedded as Ogg (as WAV, ten times larger, without soundfile)."""
    from IPython.display import Audio

    try:
        player = Audio(ogg(score))
        player.mimetype = "audio/ogg"
        return player
    except (ImportError, OSError):
        return Audio(render(score).T, rate=soundfont.SAMPLE_RATE, normalize=False)


def mixer(score: symusic.Score):
    """A mixing desk for the notebook: volume, mute and solo for each track, and a player of the mix.

    Where soundfile cannot be used, a plain player of the whole score.
    """
    import ipywidgets as widgets

    tracks = [track for track in score.tracks if track.notes]
    stems = [_audio(_alone(score, track)) for track in tracks]
    length = max((len(stem) for stem in stems), default=soundfont.SAMPLE_RATE)
    stems = [np.pad(stem, ((0, length - len(stem)), (0, 0))) for stem in stems]
    everything = sum(stems, np.zeros((length, 2)))
    gain = _gain(everything)
    try:
        player = widgets.Audio(value=_encoded(everything * gain), format="ogg", autoplay=False)
    except (ImportError, OSError):
        return play(score)
    volumes = [
        widgets.FloatSlider(1, min=0, max=2, step=0.1, description=track.name, continuous_update=False)
        for track in tracks
    ]
    mutes = [widgets.ToggleButton(description="mute", layout={"width": "5em"}) for _ in tracks]
    solos = [widgets.ToggleButton(description="solo", layout={"width": "5em"}) for _ in tracks]

    def mix(_change=None) -> None:
        alone = any(solo.value for solo in solos)
        heard = [solo.value if alone else not mute.value for solo, mute in zip(solos, mutes, strict=True)]
        mixed = sum(
            (stem * volume.value for stem, volume, on in zip(stems, volumes, heard, strict=True) if on),
            np.zeros((length, 2)),
        )
        player.value = _encoded(np.clip(mixed * gain, -1, 1))

    for control in (*volumes, *mutes, *solos):
        control.observe(mix, "value")
    rows = [widgets.HBox(row) for row in zip(volumes, mutes, solos, strict=True)]
    return widgets.VBox([*rows, player])


def _alone(score: symusic.Score, track: symusic.Track) -> symusic.Score:
    part = score.copy()
    part.tracks = [track]
    return part
