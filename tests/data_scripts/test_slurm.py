"""A study on a Slurm queue, as far as it goes without one: the job script of a worker, and what is asked wrongly."""

import re

import pytest

from course_lib.lab import cluster
from data_scripts import slurm


def test_the_job_script_of_a_worker(capsys):
    words = "--gpus 1 --minutes 90 --cores 8 --memory 32GB --queue gpu --account lab --interface lo --show"
    assert slurm.main([*words.split(), "--", "--profile", "paper"]) == 0
    script = capsys.readouterr().out
    for line in ("-p gpu", "-A lab", "--cpus-per-task=8", "-t 01:30:00", "--gres=gpu:1"):
        assert f"#SBATCH {line}\n" in script
    [worker] = re.findall(r"^.* -m distributed.cli.dask_worker .*$", script, re.MULTILINE)
    assert f"--resources {cluster.PLACE}=1 --lifetime 80m" in worker and "--nthreads 8" in worker
    assert "--interface lo" in worker
    assert "--nworkers" not in worker, "one notebook a job"


def test_a_time_that_leaves_none_to_close_in_is_refused(capsys):
    with pytest.raises(SystemExit):
        slurm.main(["--minutes", "10", "--show"])
    assert "--minutes takes more than 10" in capsys.readouterr().err


def test_what_stands_after_the_dashes_is_the_study(monkeypatch):
    asked = []
    monkeypatch.setattr(slurm.cli, "main", lambda words: asked.append(words) or 0)
    assert slurm.main(["--workers", "0", "--", "02", "--seed", "0", "1"]) == 0
    assert asked[0][:4] == ["run", "02", "--seed", "0"] and asked[0][-2] == "--scheduler"
    assert asked[0][-1].startswith("tcp://")
