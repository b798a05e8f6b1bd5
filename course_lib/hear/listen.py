"""Sound from a score, offline: in the notebook and on disk. Of a longer piece its first five minutes sound."""

from __future__ import annotations

import io
from collections.abc import Collection
from pathlib import Path

import numpy as np
import symusic

from course_lib import files
from course_lib.hear import soundfont

COMPRESSION = 0.8  # of Ogg, 0 to 1: half the size of the default, the spectrum to 8 kHz off by 0.7 dB on average
CLIP_SECONDS = 12
MOST_SECONDS = 300  # of a piece that sound: 100 MiB of audio, where an untrained network may write half an hour
WRITE_BLOCK = 2**16  # frames handed to the Ogg encoder at once: libsndfile 1.2.2 crashes on five minutes in one array


def render(score: symusic.Score) -> np.ndarray:
    """Audio of a score: float32 `(samples, 2)` at 44,100 Hz, its peak at 0.9 unless it is silent."""
    audio = _audio(score)
    audio *= _gain(audio)
    return audio


def ogg(score: symusic.Score) -> bytes:
    """The sound of a score as an Ogg Vorbis file."""
    return _encoded(render(score))


def save(score: symusic.Score, stem: str | Path) -> tuple[Path, Path]:
    """Write `stem.mid` and `stem.ogg`, each whole or not at all, and return both paths."""
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    midi, sound = stem.with_name(stem.name + ".mid"), stem.with_name(stem.name + ".ogg")
    for path, content in ((midi, score.dumps_midi()), (sound, ogg(score))):
        with files.atomic_write(path) as partial:
            partial.write_bytes(content)
    return midi, sound


def clip(ogg: Path, seconds: float = CLIP_SECONDS) -> bytes:
    """The first seconds of an Ogg file, small enough to be published: one channel, half the sampling rate."""
    import soundfile

    audio, rate = soundfile.read(ogg, frames=round(seconds * soundfont.SAMPLE_RATE), always_2d=True)
    return _encoded(_small(audio)[:, None], rate // 2)


def publish(clip: Path, sound: bytes) -> None:
    """Write a clip, unless one that is the same to the ear is there."""
    if not clip.exists() or samples(clip.read_bytes()) != samples(sound):
        clip.parent.mkdir(parents=True, exist_ok=True)
        clip.write_bytes(sound)


def samples(ogg: bytes) -> bytes:
    """What is heard of a file: the same sound encoded twice has other bytes."""
    import soundfile

    return np.asarray(soundfile.read(io.BytesIO(ogg), dtype="int16")[0]).tobytes()


def play(score: symusic.Score):
    """A player for the notebook, its sound inside as Ogg."""
    from IPython.display import Audio

    player = Audio(ogg(score))
    player.mimetype = "audio/ogg"
    return player


def mixer(score: symusic.Score):
    """A mixing desk for the notebook: volume, mute and solo for each track, and a player of the mix.

    It holds each track in one channel at half the sampling rate: ten tracks of a minute take 50 MiB, and mix at once.
    """
    import ipywidgets as widgets

    tracks = [track for track in score.tracks if track.notes]
    stems = [_small(_audio(_alone(score, track))) for track in tracks]

    def together(levels) -> np.ndarray:
        audio = np.zeros(max(map(len, stems), default=soundfont.SAMPLE_RATE // 2), "float32")
        for level, stem in zip(levels, stems, strict=True):
            audio[: len(stem)] += np.float32(level) * stem
        return audio

    gain = np.float32(_gain(together([1.0] * len(tracks))))

    def mixed(levels) -> bytes:
        return _encoded(np.clip(together(levels) * gain, -1, 1)[:, None], soundfont.SAMPLE_RATE // 2)

    player = widgets.Audio(value=mixed([1.0] * len(tracks)), format="ogg", autoplay=False)
    controls = [
        (
            widgets.FloatSlider(1, min=0, max=2, step=0.1, description=track.name, continuous_update=False),
            widgets.ToggleButton(description="mute", layout={"width": "5em"}),
            widgets.ToggleButton(description="solo", layout={"width": "5em"}),
        )
        for track in tracks
    ]

    def mix(_change) -> None:
        alone = any(solo.value for _, _, solo in controls)
        levels = [volume.value * (solo.value if alone else not mute.value) for volume, mute, solo in controls]
        player.value = mixed(levels)

    for row in controls:
        for control in row:
            control.observe(mix, "value")
    return widgets.VBox([*map(widgets.HBox, controls), player])


def _alone(score: symusic.Score, track: symusic.Track, pitches: Collection[int] = range(128)) -> symusic.Score:
    """The score with one track, and of that the notes of some pitches."""
    part, chosen = score.copy(), track.copy()
    chosen.notes = [note for note in track.notes if note.pitch in pitches]
    part.tracks = [chosen]
    return part


def _audio(score: symusic.Score) -> np.ndarray:
    """(samples, 2), as loud as the synthesizer makes it; a second of silence where there are no notes."""
    if score.to("second").end() > MOST_SECONDS:
        score = score.to("second").clip(0.0, MOST_SECONDS)  # notes that begin in it
        for note in (note for track in score.tracks for note in track.notes):
            note.duration = min(note.duration, MOST_SECONDS - note.time)
    if score.note_num() == 0:
        return np.zeros((soundfont.SAMPLE_RATE, 2), "float32")
    if soundfont.length(pitch for *_, pitch in soundfont.sounds(score)) <= soundfont.MOST_KEPT:
        return soundfont.render(score)
    audio = np.zeros((0, 2), "float32")
    for track in score.tracks:  # some sounds after another, as all together are most of a GiB
        if not track.notes:
            continue
        for pitches in soundfont.portions({note.pitch for note in track.notes}):
            part = soundfont.render(_alone(score, track, pitches))
            audio, shorter = (audio, part) if len(audio) > len(part) else (part, audio)
            audio[: len(shorter)] += shorter
    return audio


def _small(audio: np.ndarray) -> np.ndarray:
    """(samples, 2) in one channel, at half the sampling rate."""
    from scipy import signal

    return signal.resample_poly(audio.mean(axis=1), 1, 2)


def _gain(audio: np.ndarray) -> float:
    return 0.9 / max(1e-9, audio.max(), -audio.min())


def _encoded(audio: np.ndarray, rate: int = soundfont.SAMPLE_RATE) -> bytes:
    import soundfile  # only here: `doctor` must start where it cannot be imported

    content = io.BytesIO()
    kind = {"format": "OGG", "subtype": "VORBIS", "compression_level": COMPRESSION}
    with soundfile.SoundFile(content, "w", rate, audio.shape[1], **kind) as file:
        for start in range(0, len(audio), WRITE_BLOCK):
            file.write(audio[start : start + WRITE_BLOCK])
    return content.getvalue()
