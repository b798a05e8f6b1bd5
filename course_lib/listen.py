"""Sound from a score, offline: in the notebook and on disk."""

from __future__ import annotations

import io
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import symusic

from course_lib import sources

SAMPLE_RATE = 44_100
COMPRESSION = 0.8  # of Ogg, 0 to 1: half the size of the default, the spectrum to 8 kHz off by 0.7 dB on average
WRITE_BLOCK = 2**16  # frames handed to the Ogg encoder at once: some libsndfile versions overflow on long arrays


@cache
def _synthesizer():
    """symusic's synthesizer with the soundfont that pretty_midi carries, or None where it cannot be had."""
    try:
        import pretty_midi

        (soundfont,) = Path(pretty_midi.__file__).parent.rglob("TimGM6mb.sf2")
        with tempfile.TemporaryDirectory() as folder:
            tuned = Path(folder) / "tuned.sf2"
            tuned.write_bytes(_with_root_keys(soundfont.read_bytes()))
            return symusic.Synthesizer(str(tuned), SAMPLE_RATE)
    except Exception as problem:
        print(f"No soundfont synthesizer here ({problem}): plain sine tones will be heard instead.")
        return None


ZONES, GENERATORS, SAMPLES = b"ibag", b"igen", b"shdr"  # tables of a SoundFont 2 file, its last part
ROOT_KEY, SAMPLE = 58, 53  # generators of a zone
HEADER, HEADER_ROOT_KEY = 46, 40  # bytes of a sample's header, and the place of its root key


def _with_root_keys(soundfont: bytes) -> bytes:
    """The soundfont with every root key in the header of a sample, the only place where symusic reads it.

    A zone may override the root key of the sample it plays (SoundFont 2.04, generator 58); symusic 0.5 plays
    such a zone, most of the piano among them, out of tune. Each gets a header of its own for the same sample.
    """
    tables = soundfont.index(b"pdta")

    def place(name: bytes) -> slice:
        start = soundfont.index(name, tables) + 8
        return slice(start, start + int.from_bytes(soundfont[start - 4 : start], "little"))

    first = np.frombuffer(soundfont[place(ZONES)], "<u2")[::2]  # generator of each zone
    generators = np.frombuffer(soundfont[place(GENERATORS)], "<u2").reshape(-1, 2).copy()
    headers = soundfont[place(SAMPLES)][:-HEADER]
    last = soundfont[place(SAMPLES)][-HEADER:]
    for start, end in zip(first, first[1:], strict=False):
        zone = generators[start:end]
        if ROOT_KEY in zone[:, 0] and SAMPLE in zone[:, 0]:
            number = zone[zone[:, 0] == SAMPLE, 1][0]
            header = bytearray(headers[number * HEADER : (number + 1) * HEADER])
            header[HEADER_ROOT_KEY] = zone[zone[:, 0] == ROOT_KEY, 1][0]
            zone[zone[:, 0] == SAMPLE, 1] = len(headers) // HEADER
            headers += header
    result = bytearray(soundfont)
    result[place(GENERATORS)] = generators.tobytes()
    result[place(SAMPLES)] = headers + last
    for start in (8, tables, place(SAMPLES).start):  # the sizes of what holds the longer table
        size = int.from_bytes(result[start - 4 : start], "little") + len(result) - len(soundfont)
        result[start - 4 : start] = size.to_bytes(4, "little")
    return bytes(result)


def render(score: symusic.Score) -> np.ndarray:
    """Audio of a score: float32 ``(samples, 2)`` at 44,100 Hz, its peak at 0.9 unless it is silent.

    Falls back on pretty_midi's sine tones, and says so, where the soundfont cannot be used.
    """
    audio = _audio(score)
    return np.ascontiguousarray(audio * _gain(audio), "float32")


def _audio(score: symusic.Score) -> np.ndarray:
    """(samples, 2), as loud as the synthesizer makes it."""
    if score.note_num() == 0:
        return np.zeros((SAMPLE_RATE, 2), "float32")
    synthesizer = _synthesizer()
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
    mono = song.synthesize(SAMPLE_RATE)
    return np.stack([mono, mono], axis=1)


def ogg(score: symusic.Score) -> bytes:
    """The sound of a score as an Ogg Vorbis file. Without the soundfile library: ImportError or OSError."""
    return _encoded(render(score))


def _encoded(audio: np.ndarray) -> bytes:
    import soundfile

    content = io.BytesIO()
    kind = {"format": "OGG", "subtype": "VORBIS", "compression_level": COMPRESSION}
    with soundfile.SoundFile(content, "w", SAMPLE_RATE, 2, **kind) as file:
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
    with sources.whole(midi) as partial:
        partial.write_bytes(score.dumps_midi())
    try:
        content = ogg(score)
    except (ImportError, OSError) as problem:
        print(f"No Ogg file written: the soundfile library cannot be used ({problem}).")
        sound.unlink(missing_ok=True)  # of other notes than those just written
        return midi, None
    with sources.whole(sound) as partial:
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
        return Audio(render(score).T, rate=SAMPLE_RATE, normalize=False)


def mixer(score: symusic.Score):
    """A mixing desk for the notebook: volume, mute and solo for each track, and a player of the mix.

    Where soundfile cannot be used, a plain player of the whole score.
    """
    import ipywidgets as widgets

    tracks = [track for track in score.tracks if track.notes]
    stems = [_audio(_alone(score, track)) for track in tracks]
    length = max((len(stem) for stem in stems), default=SAMPLE_RATE)
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
