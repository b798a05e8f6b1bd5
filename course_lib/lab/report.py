"""One HTML page of what runs have left: the scoreboard, all systems to hear and compared, each notebook's figures.

The scoreboard is also written as a CSV file beside the page, into README, and as a page of the docs.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from course_lib import UsageError
from course_lib.files import atomic_write
from course_lib.lab import board, claims, pictures, plan, record, scoreboard
from course_lib.music import chorale_band, corpus

TABLE = "scoreboard.csv"  # beside the page
COLUMNS = (
    *("source", "id", "paper", "claim", "published", "measured", "low", "high", "unit", "rule", "data"),
    *("profile", "seeds", "verdict", "reason", "device", "links"),
)
MARKERS = ("<!-- scoreboard -->", "<!-- /scoreboard -->")  # of the part of README that update_readme makes
PAGE = Path("docs", "scoreboard.md")  # beside README: every claim
MUSIC = Path("docs", "music.md")  # and two clips of each system, which lie in the folder of the results
PICTURES = ("scoreboard.png", "piano_roll.png")  # that README shows, in the folder of the results
CLIPS = Path("sound", "systems")  # in that folder
MADE = "python -m course_lib report results --readme"  # what the pages say of how they were made


def collect(roots: Sequence[Path], mix_data: bool = True) -> list[record.Record]:
    """The records below `roots` that count, each once.

    Raises:
        UsageError: `mix_data` is False, and runs of one notebook and profile saw different data.
    """
    counted = record.load(*roots)
    if not mix_data and (different := scoreboard.different_data(counted)):
        problem = different[0][0].upper() + different[0][1:]
        raise UsageError(f"{problem}: make one report of each, or add --mix-data to average over both.")
    return counted


def write(roots: Sequence[Path], target: Path, mix_data: bool = True) -> Path:
    """Write all runs below `roots` into the HTML page `target` and return it; beside it goes `scoreboard.csv`.

    The scoreboard is of the committed results, and beside them of these runs.

    Pictures and clips go into `<name of the page>_files` beside it; what a run left is linked where it lies.

    Raises:
        UsageError: there is no run, or see `collect`.
    """
    from course_lib.lab import compare  # slow to import, and only a report needs it

    patterns = ("result.json", "error.txt", "*.ipynb")
    found = {path.parent for root in roots for pattern in patterns for path in root.rglob(pattern)}
    folders = sorted(path for path in found if ".ipynb_checkpoints" not in path.parts)
    if not folders:
        places = ", ".join(map(str, roots))
        raise UsageError(f"No run was found in {places}: give a folder that run has written.")
    counted = collect(roots, mix_data)
    rows = scoreboard.board(counted)
    files = target.with_name(f"{target.stem}_files")
    target.parent.mkdir(parents=True, exist_ok=True)
    entries = sorted((_entry(folder, files) for folder in folders), key=lambda entry: entry["notebook"])
    drawn = {name: functools.partial(getattr(pictures, name), folder=files) for name in ("clip", "piano_roll")}
    html = template("report.html.j2", target.parent, **drawn).render(
        **_board(rows),
        about=scoreboard.about(scoreboard.committed()),
        picture_of_all=pictures.scoreboard(rows, files),
        table=TABLE,
        different=scoreboard.different_data(counted),
        systems=compare.systems(counted),
        pieces=[piece for entry in entries for piece in _made(entry)],
        in_words=compare.in_words,
        entries=entries,
        anchors={str(entry["folder"]): f"run-{count}" for count, entry in enumerate(entries, 1)},
        made=datetime.now().astimezone(),
    )
    _write_table(rows, target.with_name(TABLE))
    with atomic_write(target) as partial:
        partial.write_bytes(html.encode(errors="replace"))
    pictures.remove_unused(files, html)
    return target


def _made(entry: dict) -> list[tuple[str, Path]]:
    """Caption and Ogg file of each piece that a run made, the one to hear first before the others."""
    music = sorted(entry["result"].music if entry["result"] else [], key=lambda piece: not piece.first)
    files = [(piece.caption, entry["folder"] / piece.ogg) for piece in music if piece.ogg and not piece.real]
    return [(caption, ogg) for caption, ogg in files if ogg.is_file()]


def update_readme(readme: Path, roots: Sequence[Path], mix_data: bool = True) -> Path:
    """Write the scoreboard of the runs below `roots`: in short between the two markers of README, in full as `PAGE`.

    Beside that page goes `MUSIC`; pictures and clips go into the first of `roots`.

    Returns the path of the page.

    Raises:
        UsageError: README has no markers, or see `collect`.
    """
    from course_lib.lab import compare, heard  # slow to import, and only a report needs them

    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    before, start, rest = text.partition(MARKERS[0])
    _, end, after = rest.partition(MARKERS[1])
    if not end:
        raise UsageError(f"{readme} has no lines {' and '.join(MARKERS)}: add them where the scoreboard is to stand.")
    counted, folder, page = collect(roots, mix_data), roots[0], readme.parent / PAGE
    page.parent.mkdir(exist_ok=True)
    board.save(scoreboard.rows(counted), folder / PICTURES[0])
    clips = heard.clips(compare.systems(counted), folder / CLIPS)
    heard.picture(clips["piano"], folder / PICTURES[1])
    block = markdown("readme.md.j2", counted, readme.parent, folder)
    real = {"piano": corpus.load(), "band": chorale_band.load()}
    music = template("music.md.j2", page.parent).render(
        heard=clips,
        real={kind: heard.in_figures(piece.score for piece in pieces) for kind, pieces in real.items()},
        in_words=compare.in_words,
        authors=lambda *system: [*map(claims.authors, claims.papers_of_system(*system))],
        made=MADE,
    )
    for path, content in (
        (readme, f"{before}{start}\n\n{block}\n{end}{after}"),
        (page, f"{markdown('scoreboard.md.j2', counted, page.parent, folder)}\n"),
        (readme.parent / MUSIC, f"{music}\n"),
    ):
        with atomic_write(path) as partial:
            partial.write_bytes(content.encode())
    return page


def markdown(name: str, counted: Sequence[record.Record], base: Path, folder: Path) -> str:
    """The scoreboard by a template for a file in the folder `base`; its picture lies in `folder`."""
    rows = scoreboard.rows(counted)
    one_each = [row for row in scoreboard.best(rows) if not row["apart"]]
    made = {(system.name, run.notebook[:2]) for run in counted for system in run.systems if not system.real}
    return template(name, base).render(
        **_board(rows),
        counted=one_each,
        heard=sorted({(paper, system[1]) for system in made for paper in claims.papers_of_system(*system)}),
        about=scoreboard.about(counted),
        in_words=scoreboard.in_words(one_each),
        picture=folder / PICTURES[0],
        different=scoreboard.different_data(counted),
        made=MADE,
    )


def _board(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What all templates say of the scoreboard."""
    return {
        "rows": rows,
        "groups": scoreboard.groups(rows),
        "sentences": scoreboard.sentences(rows),
        "findings": scoreboard.findings(rows),
        "columns": list(dict.fromkeys(name for row in rows for name in scoreboard.shown(row))),
        "verdicts": scoreboard.VERDICTS,
        "alt": board.ALT,
        "caption": board.CAPTION,
    }


def template(name: str, base: Path, **filters: Callable) -> jinja2.Template:
    """A template of this folder, whose links are relative to the folder `base`."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=name.endswith(".html.j2"))
    environment.globals["interval"] = scoreboard.interval
    environment.filters |= {"duration": duration, "number": scoreboard.number, "shown": scoreboard.shown, **filters}
    environment.filters["link"] = lambda path: quote(_relative(path, base))
    return environment.get_template(name)


def _write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A line a claim and source: figures in full, the folders of its runs relative to the file, split by semicolons."""
    import pandas as pd  # slow to import, and only a report needs it

    both = [(source, each) for row in rows for source, each in (("results", row), ("here", row["here"])) if each]
    table = pd.DataFrame([{**row, "source": source} for source, row in both], columns=list(COLUMNS))
    table["links"] = ["; ".join(_relative(folder, path.parent) for folder in row["links"]) for _, row in both]
    with atomic_write(path) as partial:
        table.to_csv(partial, index=False, errors="replace")


def _relative(path: str | Path, base: Path) -> str:
    return Path(os.path.relpath(path, base)).as_posix()


def _entry(folder: Path, files: Path) -> dict[str, Any]:
    """What the report shows of one run folder."""
    result, error_file = record.find(folder), folder / "error.txt"
    path = next(iter(sorted(folder.glob("*.ipynb"))), None)  # the finished one sorts before the partial one
    executed = plan.read_notebook(path) if path else None
    error = error_file.read_text(encoding="utf-8").strip() if error_file.exists() else ""
    if not result and (folder / "result.json").exists():
        error = "result.json is damaged: run the notebook again."
    stopped = path is not None and path.name.endswith(".partial.ipynb")
    about = executed.metadata.get("papermill", {}) if executed else {}
    return {
        "notebook": result.notebook if result else path.name.split(".")[0] if path else folder.name,
        "folder": folder,
        "path": path,
        "status": "failed" if error else "not finished" if stopped else "complete",
        "error": error,
        "result": result,
        "parameters": result.parameters | result.changed if result else about.get("parameters", {}),
        "seconds": result.seconds if result else about.get("duration"),
        "figures": list(pictures.figures(executed, files)) if executed else [],
        "record": (folder / "result.json").read_text(encoding="utf-8") if result else "",
    }


def duration(seconds: float) -> str:
    """Seconds in words: `1.4 s`, `84 s`, `12 min 5 s`, `3 h 20 min`."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
