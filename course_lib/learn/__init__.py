"""What two lessons share in training and sampling. Notebook 02 teaches it, 04 and 10 the adversarial half.

``profiles`` holds the settings of a notebook, ``split`` makes training data of songs, ``batches`` of bands, ``train``
is a loop that resumes from a ``checkpoint``, ``adversarial`` that of two networks; ``sample`` draws and generates, one
step at a time with ``stepper``. Code of one lesson that is still here: ``losses`` (05 to 08), ``latent`` (09),
``transformer`` (11).
"""
