"""A run of a notebook, and what becomes of it. Notebook 13 shows its end; `cli` is the one command line.

`record` is what a run leaves (`schema` says in which form, `provenance` where it came from), `claims` and `scoreboard`
what follows from it (`board` draws it), `compare` sets all systems side by side, `report` and `pictures` make the page.
`plan` and `run` execute notebooks, `committed` renews the committed copies, `exercise` is what checks of exercises say,
`doctor` looks at the machine.
"""
