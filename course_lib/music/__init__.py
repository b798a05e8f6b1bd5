"""Where music comes from, and what a network can learn of it. The lowest room; notebooks 00 and 01 teach it.

Sources: `corpus` (embedded in music21), `midi` (a folder of files), `chorale_band` (arranged from the corpus),
`datasets` (public sets that data_scripts fetch), `band_data` (bands of any number). The four encodings, each with
both directions, `from_score` and `to_score`: `notes`, `frames`, `band`, `events` (imported by itself, as it is slow).

A new data set: MIDI files need no code, as `data` may be any folder; their address goes to `course_lib/datasets.toml`.
Another kind of file is read in `corpus.load` (scores) or `band_data.load` (bands), and known by `corpus.state`.
"""

from course_lib.music import band, band_data, chorale_band, corpus, datasets, frames, midi, notes, twins

__all__ = ["band", "band_data", "chorale_band", "corpus", "datasets", "frames", "midi", "notes", "twins"]
