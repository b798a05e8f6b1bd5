"""What two lessons share in training and sampling. Notebook 02 teaches it, 04 and 10 the adversarial half.

`profiles` holds the settings of a notebook, `split` makes training data of songs, `batches` brings data to a network in
shuffled batches, `device` says in what precision networks compute, `train` is a training that resumes from a
`checkpoint`, `adversarial` that of two networks; `losses` has the loss of rolls; `sample` draws and generates, one step
at a time with `stepper`.
"""
