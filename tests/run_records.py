"""Records of runs made here, for tests that need no notebook."""

from course_lib.lab import schema


def training(stopped="patience"):
    """How a network was trained, as `learn.train.fit` leaves it; "level": to its limit, long after its best epoch."""
    best, limit = (5, "limit") if stopped == "limit" else (3, "limit" if stopped == "level" else stopped)
    return schema.Training(best_epoch=best, epochs=5, stopped=limit, seconds=1.0, watched="loss", best=1.0)


def beside(network, value, baseline, beaten=True, training="net"):
    """What `Run.baseline` records: of two baselines the one named best."""
    names = {"frequencies": baseline, "uniform": None}
    entry = {"network": network, "value": value, "best": "frequencies", "baselines": names, "beaten": beaten}
    return entry | {"figure": "NLL, nats a note", "training": training}


def record(claims=None, seed=0, profile="night", data="embedded", baselines=(), trainings=None, **given):
    """A whole record; `claims` holds values by id, `trainings` how each network stopped (default: by patience)."""
    measured = [schema.Measured(id, value) for id, value in (claims or {}).items()]
    stopped = {"net": "patience"} if trainings is None else trainings
    parameters = {"profile": profile, "seed": seed, "data": data} | given.pop("parameters", {})
    texts = {"notebook": "03_gru_next_note", "folder": f"{profile}/{seed}", "started": f"2026-01-01T00:00:{seed:02}"}
    return schema.Record(
        **texts
        | {"smoke": False, "commit": None, "versions": {}, "backend": None, "device": "CPU", "seconds": 1.0}
        | given,
        peak_memory_mib=None,
        parameters=parameters,
        data=given.pop("seen", schema.Data(data, "f")),
        claims=measured,
        baselines=list(baselines),
        trainings={name: training(how) for name, how in stopped.items()},
    )
