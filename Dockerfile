# JupyterLab with the course:
#   docker build --tag music-course .
#   docker run --rm --publish 8888:8888 --volume music-runs:/home/course/course/runs music-course
# Then open the address with a token that the second command prints, the one that begins with http://127.0.0.1.
FROM python:3.11-slim

# make and git are for whoever works in the container: `make run`, and commits from a development container
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 course \
    && install --directory --owner=course --group=course /home/course/course /home/course/course/runs
USER course
WORKDIR /home/course/course

# VENV is the Makefile's variable too, so that make finds the packages here
ENV VENV=/home/course/venv
ENV PATH=$VENV/bin:$PATH
# Some trainings are faster where freed memory is kept
ENV MALLOC_MMAP_THRESHOLD_=16777216 MALLOC_TRIM_THRESHOLD_=134217728 MALLOC_TOP_PAD_=67108864 MALLOC_ARENA_MAX=1

COPY --chown=course:course requirements.txt ./
RUN python -m venv $VENV \
    && $VENV/bin/python -m pip install --no-cache-dir --requirement requirements.txt

COPY --chown=course:course . ./
RUN python -m pip install --no-cache-dir --no-deps --editable . \
    && touch $VENV/.installed \
    && python -m data_scripts.build_embedded

# What runs leave is kept where a volume is mounted here
VOLUME /home/course/course/runs
EXPOSE 8888

# No token and no password is set, so Jupyter makes a token and prints it
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser", "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb"]
