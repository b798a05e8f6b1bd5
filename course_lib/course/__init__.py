"""A course around the notebooks: their editions for a class, grades, and the site. `docs/instructors.md` shows how to teach with it.

`editions` makes the student's and the instructor's copies of a notebook, `grade` grades what students hand in.
"""
