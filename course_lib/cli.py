"""The command line: run the notebooks headless, make the report, teach a class, check the machine.

`python -m course_lib run | report | listen | course | notebooks | doctor`. argparse, as neither click nor typer has
options that take any number of values (`--seed 0 1 2`, `-s NAME VALUE …`).
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from course_lib import UsageError, files
from course_lib.lab import committed, doctor, plan, record, report, run
from course_lib.listening import build, page, sessions


def merge_runs(args: argparse.Namespace) -> int:
    """Merge run folders into one page and one table, or into the scoreboard of README and docs."""
    roots = _run_folders(args.runs)
    if args.readme:
        readme = Path(args.readme).resolve()
        print(f"Scoreboard  {report.update_readme(readme, roots, args.mix_data)}\nIn short    {readme}")
        return 0
    target = Path(args.out or os.path.commonpath(roots)).resolve()
    target = target / "index.html" if target.is_dir() else target
    print(f"Report      {report.write(roots, target, args.mix_data)}")
    print(f"Table       {target.with_name(report.TABLE)}")
    return 0


def listening_test(args: argparse.Namespace) -> int:
    """Build a listening test, or go on with one that is there, and serve it to a class as a web page."""
    target = Path(args.out or files.runs_folder() / "listening" / (args.form or "rating")).resolve()
    if (target / "test.json").exists():
        test, given = sessions.load(target), len(sessions.answers(target))
        if args.form not in (None, test["form"]):
            raise UsageError(f"{target} holds a test of form {test['form']}: choose another --out for a new one.")
        about = f"form {test['form']}, {len(test['clips'])} clips of {test['seconds']:g} s, {given} answers so far"
        print(f"Going on with the test in {target} ({about}). For a new test choose another --out.")
    else:
        found = record.latest(record.load(*_run_folders(args.runs or [files.latest_run(files.runs_folder())])))
        form = args.form or "rating"
        usual, clips = build.usual_systems(found, form)
        systems = None if args.systems == ["all"] else args.systems or usual
        build.build(found, target, form, systems, args.clips or clips, args.seconds, args.seed)
    return page.serve(target, args.port, args.ip)


def course(args: argparse.Namespace) -> int:
    """Make editions of the notebooks for a class, grade what it hands in, or build the site."""
    from course_lib.course import editions, grade, site  # here, as nbgrader takes seconds to import

    if "run" in args:
        return site.make(args)
    return grade.check(args) if "folder" in args else editions.make(args)


def check(args: argparse.Namespace) -> int:
    """Say what this machine has, or what is in a folder of MIDI files."""
    if not args.data:
        return doctor.doctor()
    from course_lib.lab import own_data  # it needs pandas, which is slow to import

    return own_data.describe(args.data)


def _run_folders(names: Sequence[str | Path]) -> list[Path]:
    roots = [Path(name).resolve() for name in names]
    for root in roots:
        if not root.is_dir():
            raise UsageError(f"Run folder '{root}' does not exist: give a folder that run has written.")
    return roots


def _jobs(text: str) -> str:
    if text != "auto" and not (text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of runs at once: use a whole number from 1, or auto")
    return text


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m course_lib", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="run|report|listen|course|notebooks|doctor")

    command = commands.add_parser(
        "run",
        usage="%(prog)s [NOTEBOOK ...] [option ...]",  # else -p and --seed take the notebooks for values
        help="execute notebooks and write the report",
        epilog="example: python -m course_lib run 02 05 --seed 0 1 2 -s epochs 20 40 --out runs/grid",
    )
    command.set_defaults(action=run.run, argv=argv)
    command.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="numbers or names (default: all)")
    command.add_argument("--profile", default="quick", help="quick (default), night or paper")
    command.add_argument("--seed", nargs="+", type=int, default=[0], help="one run for each (default: 0)")
    command.add_argument("--data", default="embedded", help="embedded (default), or a folder of MIDI files")
    command.add_argument(
        "-p", "--parameter", nargs="+", action="append", default=[], metavar=("NAME", "VALUE"),
        help="a parameter of the notebooks; several values make a grid",
    )  # fmt: skip
    command.add_argument(
        "-s", "--setting", nargs="+", action="append", default=[], metavar=("NAME", "VALUE"),
        help="a value in the settings table of a notebook: 20, or 16,32 for a list; several values make a grid",
    )  # fmt: skip
    command.add_argument("--jobs", default="1", type=_jobs, metavar="N|auto", help="so many at once here (default: 1)")
    command.add_argument(
        "--scheduler", metavar="ADDRESS", help="run on the Dask cluster at this address, such as tcp://10.0.0.5:8786"
    )
    command.add_argument("--dry-run", action="store_true", help="say how many runs and about how long, and stop")
    command.add_argument("--yes", action="store_true", help=f"also start more than {plan.MOST_RUNS:,} runs")
    command.add_argument("--out", help="folder to write to, or to go on in (default: a new one under runs)")

    command = commands.add_parser(
        "report",
        help="merge run folders into one page",
        epilog="example: python -m course_lib report runs/monday runs/tuesday --out both.html",
    )
    command.set_defaults(action=merge_runs)
    command.add_argument("runs", nargs="+", metavar="RUNS", help="folders that run has written, such as runs/latest")
    command.add_argument("--out", help="page to write, or its folder (default: index.html in the folder of all)")
    command.add_argument("--mix-data", action="store_true", help="average over runs that saw different data")
    command.add_argument(
        "--readme", nargs="?", const=str(files.ROOT / "README.md"), metavar="FILE",
        help="write no report, but the scoreboard: in short into FILE, in full into docs/scoreboard.md beside it "
        "(default: README.md of the checkout)",
    )  # fmt: skip

    command = commands.add_parser(
        "listen",
        help="offer a blind listening test to a class, as a web page",
        epilog="example: python -m course_lib listen runs/latest --form pairs --systems '2D CNN' 'RNN (Chen et al.)'",
    )
    command.set_defaults(action=listening_test)
    command.add_argument("runs", nargs="*", metavar="RUNS", help="folders to take clips from (default: runs/latest)")
    command.add_argument("--form", help=f"{', '.join(sessions.FORMS)} (default: rating)")
    command.add_argument(
        "--systems", nargs="+", metavar="NAME",
        help="such as '2D CNN', or all (default: those of the paper with this form); real music of their kind is added",
    )  # fmt: skip
    command.add_argument("--clips", type=int, help="of each system (default: 4, of scales and pairs 2)")
    command.add_argument("--seconds", type=float, default=10, help="of each clip (default: 10)")
    command.add_argument("--seed", type=int, default=0, help="of the choice of pieces (default: 0)")
    command.add_argument("--out", help="folder of the test; one that is there goes on (default: runs/listening/<form>)")
    command.add_argument("--port", type=int, default=8866, help="of the web page (default: 8866)")
    command.add_argument("--ip", default="0.0.0.0", help="0.0.0.0 (default): the whole network; 127.0.0.1: here only")

    command = commands.add_parser("course", help="make editions for a class, grade what it hands in, build the site")
    parts = command.add_subparsers(required=True, metavar="make|check|site")
    command = parts.add_parser(
        "make",
        help="write the students' notebooks, the solutions and the instructor's guide, and a .zip of each",
        epilog="example: python -m course_lib course make 00 01 02 --out editions",
    )
    command.set_defaults(action=course)
    command.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="numbers or names (default: all)")
    command.add_argument("--out", default="editions", help="folder to write to (default: editions)")
    command = parts.add_parser(
        "check",
        help="grade a folder of submissions, FOLDER/<student>/<notebook>.ipynb, into a table",
        epilog="example: python -m course_lib course check handed-in --out grades.csv",
    )
    command.set_defaults(action=course)
    command.add_argument("folder", metavar="FOLDER", help="holds a folder for each student, with notebooks in it")
    command.add_argument("--out", help="table to write, or to go on with (default: grades.csv in FOLDER)")
    command.add_argument("--seconds", type=float, default=600, help="that a submission may take (default: 600)")
    command.add_argument("--memory", type=int, default=4000, metavar="MIB", help="it may take (default: 4000)")
    command = parts.add_parser(
        "site",
        help="build the course as a web site, without executing anything",
        epilog="example: python -m course_lib course site --run runs/latest",
    )
    command.set_defaults(action=course)
    command.add_argument("--run", metavar="RUNS", help="show chapters as executed in this folder, where it has them")
    command.add_argument(
        "--out", default="site", help="folder to write, in place of a site that is there (default: site)"
    )

    command = commands.add_parser(
        "notebooks",
        help="execute and clean the committed notebooks",
        epilog="example: python -m course_lib notebooks 02 05",
    )
    command.set_defaults(action=committed.update)
    command.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="numbers or names (default: all)")

    command = commands.add_parser(
        "doctor",
        help="check this machine, or a folder of MIDI files",
        epilog="example: python -m course_lib doctor --data ~/my_midi_files",
    )
    command.set_defaults(action=check)
    command.add_argument("--data", metavar="FOLDER", help="say what is in this folder, and which notebooks can use it")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m course_lib`; returns 0, 1 (something failed), 2 (asked wrongly) or 130 (Ctrl-C)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = _parser(argv).parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # notebooks print what not every console can show
    try:
        return args.action(args)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    except OSError as error:
        place, reason = error.filename or getattr(args, "out", None) or "The output", error.strerror or error
        print(f"{place} cannot be written ({reason}): make room or choose another --out.", file=sys.stderr)
        return 1
