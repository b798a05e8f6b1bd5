"""What can be said of music in figures, of generated and of real music alike. Notebooks 00, 01 and 06 teach it.

`piece` measures one piece for one instrument, `band` how the instruments of a band fit together, `sets` whole sets of
pieces (variety, likeness, novelty), `baselines` what held-out music costs without a network.
"""

from course_lib.measure import band, baselines, piece, sets

__all__ = ["band", "baselines", "piece", "sets"]
