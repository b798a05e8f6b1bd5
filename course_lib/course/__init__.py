"""A course around the notebooks: editions for a class, grades, the site; `docs/instructors.md` shows its use.

`editions` makes the student's and the instructor's copies of a notebook, `grade` grades what students hand in
(`autograde` one submission, `confine` what it may do), `site` builds the web site.
"""
