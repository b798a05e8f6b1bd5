"""The measures of a piece of three minutes, one of them against pypianoroll, and novelty against a class's songs."""

from pathlib import Path

import numpy as np
from bench_encode import milliseconds
from pypianoroll import metrics

from course_lib import measure

STEPS, LENGTH = 4, 3 * 60 * 2 * 4  # 3 minutes at 120 beats a minute


def main() -> dict[str, float]:
    """Measure, print one line a benchmark, and return milliseconds."""
    rng = np.random.default_rng(0)
    band = rng.random((LENGTH, 128, 5)) < 0.02
    roll = band[..., 0]
    training = [[f"class {note}" for note in rng.integers(0, 60, 1000)] for _ in range(50)]
    new = [[f"class {note}" for note in rng.integers(0, 60, 500)] for _ in range(20)]
    copied = [song[:500] for song in training[:20]]
    work = {
        "pypianoroll_scale": lambda _: pypianoroll_in_scale_rate(roll),
        "in_scale_rate": lambda _: measure.piece.in_scale_rate(measure.piece.rising_edges(roll)),
        "measures": lambda _: measure.piece.measures(roll, STEPS),
        "band_measures": lambda _: measure.band.measures(band, STEPS),
        "novelty": lambda _: measure.sets.novelty(new, training),
        "novelty_of_copies": lambda _: measure.sets.novelty(copied, training),
    }
    result = {f"{name}_ms": milliseconds(each, Path(), repeats=5) for name, each in work.items()}
    slow, fast = result["pypianoroll_scale_ms"], result["in_scale_rate_ms"]
    print(f"In-scale rate of three minutes, best of 24 keys: pypianoroll {slow:.0f} ms, here {fast:.2f} ms")
    print(
        f"All measures of three minutes: piano {result['measures_ms']:.1f} ms, "
        f"a band {result['band_measures_ms']:.0f} ms"
    )
    print(
        f"Novelty of 20 sequences of 500 notes against 50 of 1,000: new ones {result['novelty_ms']:.0f} ms, "
        f"copies {result['novelty_of_copies_ms']:.0f} ms"
    )
    return result


def pypianoroll_in_scale_rate(roll: np.ndarray) -> float:
    """The best of the 24 keys by pypianoroll, which counts each sounding step."""
    return max(metrics.in_scale_rate(roll, root, mode) for root in range(12) for mode in ("major", "minor"))


if __name__ == "__main__":
    main()
