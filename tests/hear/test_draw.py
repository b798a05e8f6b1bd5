import matplotlib
import numpy as np
import pytest
import symusic
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection

from course_lib.hear import draw


def score_of(*tracks, drums=()):
    score = symusic.Score(480)
    for number, notes in enumerate(tracks):
        track = symusic.Track(is_drum=number in drums)
        for start, length, pitch in notes:
            track.notes.append(symusic.Note(round(480 * start), round(480 * length), pitch, 80))
        score.tracks.append(track)
    return score


DUET = score_of([(0, 1, 72), (1, 2, 74)], [(0, 3, 40)], [(0, 1, 36)], [], drums=[2])


def only_axes(figure):
    figure.canvas.draw()  # whatever cannot be drawn fails here
    assert plt.get_fignums() == [], "a figure left open is shown twice in a notebook"
    (axes,) = figure.axes
    assert axes.get_xlabel()
    assert axes.get_ylabel() or any(label.get_text() for label in axes.get_yticklabels())
    return axes


@pytest.fixture(autouse=True)
def no_screen():
    plt.close("all")
    with matplotlib.rc_context({"backend": "agg"}):
        yield


# ---------------------------------------------------------------- piano rolls


def rolls(axes):
    return [artist for artist in axes.collections if isinstance(artist, LineCollection)]


def test_a_piano_roll_has_one_artist_a_track_and_one_line_a_note():
    axes = only_axes(draw.piano_roll(DUET, "Duet"))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time (quarter notes; lines at bars)", "pitch")
    assert axes.get_title() == "Duet"
    upper, lower = rolls(axes)  # neither drums nor the empty track
    starts_and_pitches = [[(*segment[0],) for segment in artist.get_segments()] for artist in (upper, lower)]
    assert starts_and_pitches == [[(0, 72), (1, 74)], [(0, 40)]]
    ends = [segment[-1][0] for artist in (upper, lower) for segment in artist.get_segments()]
    assert ends == pytest.approx([1, 3, 3], abs=0.05)
    assert not np.array_equal(upper.get_colors(), lower.get_colors())


@pytest.mark.parametrize("meter, lines", [(None, 4), ((4, 4), 4), ((3, 4), 3), ((6, 8), 3), ((2, 2), 4)])
def test_a_piano_roll_has_its_lines_at_the_bars_of_the_music(meter, lines):
    score = score_of([(0, 24, 60)])
    if meter:
        score.time_signatures.append(symusic.TimeSignature(0, *meter))
    axes = only_axes(draw.piano_roll(score))
    assert axes.get_xticks()[axes.get_xticks() > 0][0] % lines == 0


def test_a_piano_roll_shows_every_note_within_its_axes():
    axes = only_axes(draw.piano_roll(score_of([(0, 1, 0), (63, 1, 127)])))
    assert axes.get_ylim()[0] < 0 and axes.get_ylim()[1] > 127
    assert axes.get_xlim() == (0, 64)


def test_a_piano_roll_can_be_cut_and_can_be_empty():
    long = score_of([(place, 1, 60) for place in range(100)])
    assert only_axes(draw.piano_roll(long, beats=16)).get_xlim() == (0, 16)
    assert only_axes(draw.piano_roll(DUET, beats=1000)).get_xlim()[1] <= 4
    for nothing in (symusic.Score(480), score_of([(0, 1, 36)], drums=[0])):
        axes = only_axes(draw.piano_roll(nothing))
        assert rolls(axes) == [] and axes.get_xlim()[1] > 0


# ---------------------------------------------------------------- bands


def bands_of(*cells, length=32):
    roll = np.zeros((length, 128, 5), bool)
    for step, pitch, channel in cells:
        roll[step, pitch, channel] = True
    return roll


def images(figure):
    """Of each instrument: the picture as bool (pitches, time), the lowest pitch, and the bars from left to right."""
    figure.canvas.draw()
    assert plt.get_fignums() == [], "a figure left open is shown twice in a notebook"
    found = []
    for axes in figure.axes:
        (image,) = axes.images
        left, right, bottom, top = image.get_extent()
        picture = np.asarray(image.get_array()).astype(bool)
        assert image.origin == "lower" and top - bottom == len(picture), "a row a pitch"
        assert axes.get_ylim()[0] <= bottom and axes.get_ylim()[1] >= top
        found.append((picture, int(bottom + 0.5), (left, right)))
    return found


def test_a_band_shows_every_cell_of_every_instrument_at_its_place():
    roll = np.random.default_rng(0).random((48, 128, 5)) < 0.01
    figure = draw.band(roll, "A band", steps_per_beat=2)
    for channel, (picture, lowest, bars) in enumerate(images(figure)):
        expected = np.zeros((48, 128), bool)
        expected[:, lowest : lowest + len(picture)] = picture.T
        assert np.array_equal(expected, roll[..., channel])
        assert bars == (0, 6)
    assert [axes.get_ylabel().split("\n")[0] for axes in figure.axes] == [
        "Piano", "Guitar", "Bass", "Strings", "Drums",
    ]  # fmt: skip
    octaves = [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes]
    assert [any(name.startswith("C") for name in names) for names in octaves] == [True] * 4 + [False]
    assert figure.axes[0].get_title() == "A band" and figure.axes[-1].get_xlabel() == "time (bars)"


@pytest.mark.parametrize("pitches", [(0,), (1, 127), (126,), (0, 127), (60,)])
def test_a_band_shows_the_lowest_and_the_highest_pitches(pitches):
    """An untrained network plays them."""
    roll = bands_of(*((3, pitch, 1) for pitch in pitches))
    picture, lowest, _ = images(draw.band(roll, "Untrained", 2))[1]
    assert {(int(step), lowest + int(row)) for row, step in np.argwhere(picture)} == {(3, pitch) for pitch in pitches}


def test_a_silent_instrument_and_another_grid():
    figure = draw.band(bands_of((0, 60, 0), length=16), "One note", steps_per_beat=4)
    pictures = images(figure)
    assert [picture.any() for picture, *_ in pictures] == [True, False, False, False, False]
    assert all(bars == (0, 1) and len(picture) for picture, _, bars in pictures)


# ---------------------------------------------------------------- curves

HISTORIES = {
    "lstm_1": {
        "loss": [3.0, 2.0, 1.5],
        "accuracy": [0.1, 0.2, 0.3],
        "test loss": [3.1, 2.6, 2.7],
        "test accuracy": [0.1, 0.1, 0.2],
        "seconds": [1, 1, 1],
    },
    "lstm_4": {"loss": [3.2, 2.9], "test loss": [3.3, 3.0]},
}


def test_curves_are_solid_for_training_and_dashed_for_held_out_data():
    axes = only_axes(draw.curves(HISTORIES, "loss", "Loss falls", "nats a note"))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss (nats a note)")
    lines = {line.get_label(): line for line in axes.lines if line.get_marker() == "."}
    assert list(lines) == ["lstm_1: training", "lstm_1: test", "lstm_4: training", "lstm_4: test"]
    assert [line.get_linestyle() for line in lines.values()] == ["-", "--", "-", "--"]
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == list(lines)
    for label, entry in [("lstm_1: training", "loss"), ("lstm_1: test", "test loss")]:
        assert lines[label].get_ydata().tolist() == HISTORIES["lstm_1"][entry]
        assert lines[label].get_xdata().tolist() == [1, 2, 3]
        assert lines[label].get_color() == lines["lstm_1: training"].get_color()
    assert lines["lstm_1: training"].get_color() != lines["lstm_4: training"].get_color()


def test_the_best_held_out_loss_is_marked_and_baselines_are_lines():
    baselines = {"bigram": 2.5, "uniform": 4.0, "frequencies": 3.5, "hold": 3.8, "repeat": 3.9}
    axes = only_axes(draw.curves(HISTORIES, "loss", "Loss falls", "nats a note", baselines))
    stars = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if line.get_marker() == "*"]
    assert stars == [(2, 2.6), (2, 3.0)]
    found = [line for line in axes.lines if line.get_label() in baselines]
    assert {line.get_label(): line.get_ydata()[0] for line in found} == baselines
    assert not [
        line for line in only_axes(draw.curves(HISTORIES, "accuracy", "", "")).lines if line.get_marker() == "*"
    ]


def test_curves_of_another_metric():
    axes = only_axes(draw.curves(HISTORIES, "accuracy", "Accuracy", "share of notes"))
    assert axes.get_ylabel() == "accuracy (share of notes)"
    assert [line.get_ydata().tolist() for line in axes.lines] == [[0.1, 0.2, 0.3], [0.1, 0.1, 0.2]]


# ---------------------------------------------------------------- comparisons


def row(measure, generated, real, spread=1.0):
    values = {"measure": measure, "overlap": 0.5}
    for kind, mean in (("generated", generated), ("real", real)):
        values |= {kind: mean, f"{kind}_low": mean - spread, f"{kind}_high": mean + spread}
    return values


def test_a_comparison_scales_each_measure_by_its_larger_mean():
    axes = only_axes(
        draw.comparison([row("pitches_used", 20.0, 40.0, 4.0), row("empty_bars", 0.5, 0.25, 0.1)], "Beside real")
    )
    assert [label.get_text() for label in axes.get_yticklabels()] == ["pitches used", "empty bars"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["real", "generated"]
    points = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1]
    assert points == pytest.approx([1, 0.5, 0.5, 1])  # real, generated of each row
    intervals = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]
    assert np.allclose(intervals, [[0.9, 1.1], [0.4, 0.6], [0.3, 0.7], [0.8, 1.2]])
    assert axes.yaxis_inverted()  # the first row on top
    assert "95 % interval" in axes.get_xlabel()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("generated", "real"), [(np.nan, 2.0), (2.0, np.nan), (np.nan, np.nan), (0.0, 0.0)])
def test_a_comparison_copes_with_measures_that_do_not_apply(generated, real):
    axes = only_axes(
        draw.comparison([row("scale_consistency", generated, real), row("notes", 3.0, 4.0)], "Beside real")
    )
    assert len(axes.get_yticklabels()) == 2
    points = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1]
    assert points[2:] == pytest.approx([1, 0.75])
    assert np.isnan(points[:2]).tolist() == [np.isnan(real), np.isnan(generated)]
