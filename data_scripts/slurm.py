"""Run a study on a Slurm queue: `python -m data_scripts.slurm --workers 8 --gpus 1 -- --profile paper --seed 0 1 2`.

What stands after `--` goes to `python -m course_lib run`. Start it on a machine that submits jobs and stays on, such as
a login node in tmux: Dask's scheduler and the runner live there, each Slurm job is one worker. A worker closes before
its time on the queue is up, a new one takes its place, and its notebook goes on from the last epoch.
"""

from __future__ import annotations

import argparse
import sys

from dask_jobqueue import SLURMCluster

from course_lib import cli
from course_lib.lab import cluster

MARGIN = 10  # minutes before the end of its time at which a worker closes


def slurm(args: argparse.Namespace) -> SLURMCluster:
    """A cluster without workers yet."""
    gpus = [f"--gres=gpu:{args.gpus}"] if args.gpus else []
    lifetime = ["--lifetime", f"{args.minutes - MARGIN}m", "--lifetime-stagger", "2m"]
    return SLURMCluster(
        queue=args.queue,
        account=args.account,
        cores=args.cores,
        processes=1,
        interface=args.interface,
        memory=args.memory,
        walltime=f"{args.minutes // 60:02}:{args.minutes % 60:02}:00",
        python=sys.executable,
        job_extra_directives=gpus,
        worker_extra_args=["--resources", f"{cluster.PLACE}=1", *lifetime],
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status of the study."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    split = given.index("--") if "--" in given else len(given)
    parser = argparse.ArgumentParser(
        prog="python -m data_scripts.slurm", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--workers", type=int, default=4, help="Slurm jobs at once (default 4)")
    parser.add_argument("--minutes", type=int, default=240, help="that the queue gives a job (default 240)")
    parser.add_argument("--cores", type=int, default=4, help="of a worker (default 4)")
    parser.add_argument("--memory", default="16GB", help="of a worker (default 16GB)")
    parser.add_argument("--gpus", type=int, default=0, help="of a worker, which uses one (default 0)")
    parser.add_argument("--queue", help="partition (default: the user's)")
    parser.add_argument("--account", help="to which the time is charged (default: the user's)")
    parser.add_argument("--interface", help="network over which all talk, such as ib0 (default: the first)")
    parser.add_argument("--show", action="store_true", help="print the job script of a worker, and stop")
    args = parser.parse_args(given[:split])
    if args.minutes <= MARGIN:
        parser.error(f"--minutes takes more than {MARGIN}: a worker closes so long before its time is up")
    with slurm(args) as queue:
        if args.show:
            print(queue.job_script())
            return 0
        queue.adapt(minimum=args.workers, maximum=args.workers)  # which replaces a worker that has closed
        return cli.main(["run", *given[split + 1 :], "--scheduler", queue.scheduler_address])


if __name__ == "__main__":
    sys.exit(main())
