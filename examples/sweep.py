"""Many runs of examples/train_dsprites.py, on this machine or a cluster, by Dask (pip install ".[sweep]").

python examples/sweep.py --objectives beta --strengths 1 4 16 --seeds 0 1 2
python examples/sweep.py --objectives beta --strengths 1 4 16 --seeds 0 1 2 --scheduler tcp://host:8786

Each combination of objective, strength (β or γ), C, preset and seed is a run. Results arrive in results.csv, a row a
run, checkpoints in folders of their names. The same command goes on where it was stopped.
"""

import csv
import hashlib
import io
import itertools
import platform
import queue
import sys
import tempfile
import time
import uuid
from concurrent.futures import CancelledError
from contextlib import ExitStack, redirect_stdout, suppress
from pathlib import Path

import numba
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import evaluate
import tinybvae as tb
from tinybvae.checkpoint import as_json, before, newest_of
from tinybvae.commandline import Parser, as_text, path, progress, say, schedule_or_0, seed, thread_count
from tinybvae.files import locked, write_atomically
from tinybvae.metrics import NAMES
from tinybvae.report import describe, figures
from tinybvae.report.page import used
from tinybvae.runs import opened, score_if_due
from tinybvae.settings import OBJECTIVES, PRESETS, add_settings, configure, given_settings, objective_of

try:
    import cloudpickle
    import distributed
except ImportError:
    distributed = None

COLUMNS = ["run", "objective", "strength", "capacity", "preset", "seed", "steps", *NAMES, "reconstruction", "kl",
           "nine_images", "used", "dead_units", "minutes", "worker", "versions", "settings", "error"]
TOPIC = "tinybvae sweep"  # of the events by which workers say how far they are
PATIENCE = 20  # seconds that a scheduler has to answer


def main():
    parser = Parser(description=__doc__.splitlines()[0])
    add_grid(parser)
    options = parser.parse_args()
    out = Path(options.out)
    with ExitStack() as stack:
        try:
            if not distributed:
                raise ValueError('this needs Dask: pip install ".[sweep]"')
            runs = grid(options)
            left = begin(runs, out, stack)
            failed = sweep(client_of(options, len(left), stack), left, out, options.threads) if left else 0
            rows = read_rows(out)
            draw([rows[name] for name in runs if name in rows], out)
        except (ValueError, MemoryError, OSError) as error:
            parser.error(str(error))
        except CancelledError:
            parser.exit(1, f"{parser.prog}: the scheduler is gone: the same command goes on, with another one\n")
        except KeyboardInterrupt:
            say("stopped: the same command goes on")
            sys.exit(130)
    say(f"{len(runs) - len(left)} of {len(runs)} runs were done before; see {out / 'results.csv'}")
    if failed:
        say(f"{failed} of the runs failed: their reasons are there; the same command tries them again")
        sys.exit(1)


def add_grid(parser):
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, help="(default: the preset's, or the recipe's)")
    parser.add_argument("--strengths", nargs="+", type=schedule_or_0, help="of the KL: beta, or gamma with capacity")
    parser.add_argument("--capacities", nargs="+", type=schedule_or_0, help="C, in nats, numbers or schedules")
    parser.add_argument("--presets", nargs="+", choices=PRESETS)
    parser.add_argument("--seeds", nargs="+", type=seed, default=[0])
    add_settings(parser, without=("objective", "gamma", "capacity", "beta", "seed"))
    parser.add_argument("--out", type=path, default="runs/sweep", metavar="FOLDER", help="(default: %(default)s)")
    parser.add_argument("--threads", type=thread_count, default=1, help="of a run (default: 1, which wastes the least)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a cluster that is there, such as tcp://host:8786; "
                        "without it, this machine: as many workers as its cores have room for")


def grid(options):
    """{name: (given settings, preset)} of all runs. Raises ValueError as `configure` does, or if no run takes a C."""
    runs, base = {}, given_settings(options)
    for preset, objective in itertools.product(options.presets or [None], options.objectives or [None]):
        given = {**base, "objective": objective} if objective else base
        kind = configure(given, preset)["objective"]
        capacities = options.capacities if kind == "capacity" else None
        for strength, C, one in itertools.product(options.strengths or [None], capacities or [None], options.seeds):
            values = {"beta" if kind == "beta" else "gamma": strength, "capacity": C, "seed": one}
            values = {key: value for key, value in values.items() if value is not None}
            mark = {"capacity": "C", "seed": "seed"}
            parts = [preset, objective, *(mark.get(key, "") + plain(value) for key, value in values.items())]
            runs["-".join(filter(None, parts)).replace(":", "_").replace(",", "-")] = {**given, **values}, preset
    if options.capacities and not any("capacity" in given for given, _ in runs.values()):
        raise ValueError("--capacities belong to --objectives capacity")
    return runs


def plain(setting):
    """A number or a schedule as short text."""
    return as_text(setting).removesuffix(".0")


def begin(runs, out, stack):
    """Of `runs`, those that are not done in the folder, which stays locked until the ExitStack ends.

    Raises ValueError if it holds a run, done or not, of the same name and other settings.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file: give a folder")
    out.mkdir(parents=True, exist_ok=True)
    stack.enter_context(locked(out))
    done = {name: row["settings"] for name, row in read_rows(out).items() if not row["error"]}
    for name, run in runs.items():
        settings, checkpoint = as_json(configure(*run)), newest_of(out / name / "checkpoint.h5")
        if done.get(name, settings) != settings or checkpoint and as_json(tb.load(checkpoint).settings) != settings:
            raise ValueError(f"--out {out} holds {name} with other settings: give another folder")
    return {name: run for name, run in runs.items() if name not in done}


def client_of(options, runs, stack):
    """A client of the cluster that is there, or of one on this machine; both are closed with the ExitStack."""
    if not options.scheduler:
        workers = max(1, numba.config.NUMBA_NUM_THREADS // options.threads)
        cluster = stack.enter_context(distributed.LocalCluster(n_workers=min(workers, runs), threads_per_worker=1,
                                                               memory_limit=0, dashboard_address=":0"))
        return stack.enter_context(distributed.Client(cluster))
    try:
        return stack.enter_context(distributed.Client(options.scheduler, timeout=PATIENCE))
    except OSError as error:
        raise ValueError(f"--scheduler {options.scheduler}: no scheduler answers there ({error})") from error


def versions():
    """What a run's bits depend on, beside its settings and its processor: all workers must have the same."""
    sources = sorted(Path(tb.__file__).parent.rglob("*.py"))
    return {"tinybvae": hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()[:8],
            "python": platform.python_version(), "numpy": np.__version__, "numba": numba.__version__}


def train_one(name, token, given, preset, threads, wanted, losses):
    """On a worker: the row of a run, trained to its end from its last checkpoint, if there is one, and its checkpoint.

    The scheduler keeps the checkpoint, as a distributed.Variable: there it outlives the worker. None, if the worker has
    other versions than those that are wanted.
    """
    if versions() != wanted:
        return None
    worker, last, start = distributed.get_worker(), distributed.Variable(f"{token}-{name}"), time.perf_counter()
    encoded = None
    task = worker.state.tasks[worker.get_current_task()]
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    with tempfile.TemporaryDirectory(dir=worker.local_directory) as folder, redirect_stdout(io.StringIO()):
        checkpoint = Path(folder) / "checkpoint.h5"
        content = last.get()
        if content:
            checkpoint.write_bytes(content)
        with opened(folder, given, preset, resume=bool(content)) as (run, sprites):
            settings = run.settings

            def save(run):
                nonlocal encoded
                if task.state == "cancelled":  # the client is gone; nobody stops a task but itself
                    raise InterruptedError(f"{name} is wanted no more")
                encoded = score_if_due(run, sprites)
                tb.save(run, checkpoint)
                last.set(checkpoint.read_bytes())
                worker.log_event(TOPIC, {"token": token, "run": name, "worker": worker.address,
                                         "step": run.step, "steps": settings["steps"]})

            tb.train(run, sprites, objective_of(settings), settings["steps"], settings["batch_size"],
                     settings["checkpoint_every"], save)
        scores = run.scores[-1] if run.scores else {}  # none if no factors are known
        measured = describe(run, sprites, encoded)
        row = {**{score: scores.get(score, "") for score in NAMES}, **losses(run.model, sprites),
               "used": used(measured["latents"]),
               "dead_units": sum(dead for dead, _ in measured["dead_units"].values()),
               "minutes": round((time.perf_counter() - start) / 60, 1), "worker": worker.address}
        return row, checkpoint.read_bytes()


def sweep(client, runs, out, threads):
    """Train runs {name: (settings, preset)}; what arrives goes into `out`. Returns how many failed."""
    for module in (evaluate, sys.modules[__name__]):
        cloudpickle.register_pickle_by_value(module)  # workers have the library, not the examples
    allowed = workers_like_this_one(client)
    say(f"{len(runs)} runs on {len(allowed)} workers; what runs where: {client.dashboard_link}")
    on_the_way = OnTheWay(client, runs, out, threads, allowed)
    try:
        with progress(total=len(runs), unit="run") as bar:
            tell = say if bar.disable else bar.write
            for name in runs:
                on_the_way.submit(name)
            while on_the_way.futures:
                with suppress(distributed.TimeoutError):
                    distributed.wait([*on_the_way.futures], timeout=.2, return_when="FIRST_COMPLETED")
                for line in on_the_way.keep_checkpoints():
                    if bar.disable:  # in a terminal the bar shows it
                        tell(line)
                for line in on_the_way.keep_results():
                    tell(line)
                    bar.update()
                bar.set_postfix_str("; ".join(on_the_way.where.values()))
    finally:
        on_the_way.forget()
    return on_the_way.failed


class OnTheWay:
    """Runs that a cluster works on: `futures` {future: name}, `where` {name: how far, on which worker}."""

    def __init__(self, client, runs, out, threads, allowed):
        self.client, self.runs, self.out, self.threads, self.allowed = client, runs, out, threads, allowed
        self.futures, self.where, self.failed, self.begun_with = {}, {}, 0, {}
        self.versions = versions()
        self.token, self.news = uuid.uuid4().hex, queue.SimpleQueue()  # other sweeps may be there, of the same names
        client.subscribe_topic(TOPIC, lambda event: self.news.put(event[1]))
        self.last = {name: distributed.Variable(f"{self.token}-{name}", client=client) for name in runs}
        for name, variable in self.last.items():
            checkpoint = newest_of(out / name / "checkpoint.h5")
            self.begun_with[name] = checkpoint.read_bytes() if checkpoint else b""
            variable.set(self.begun_with[name])

    def submit(self, name, **which):
        future = self.client.submit(train_one, name, self.token, *self.runs[name], self.threads, self.versions,
                                    evaluate.losses, key=f"{name}-{uuid.uuid4()}", **which)
        self.futures[future] = name

    def keep_checkpoints(self):
        """Take those that came since; a line for each."""
        events = {}
        while not self.news.empty():
            event = self.news.get()
            if event["token"] == self.token and event["run"] in self.futures.values():  # not of one that has ended
                events[event["run"]] = event
        for name, event in events.items():
            keep(self.out, name, self.last[name].get())
            self.where[name] = "{run}: step {step}/{steps} on {worker}".format(**event)
        return [self.where[name] for name in events]

    def keep_results(self):
        """Take those of runs that have ended; a line for each."""
        return [*filter(None, map(self._result, [future for future in self.futures if future.done()]))]

    def _result(self, future):
        """Add the run's row, or submit it again: then there is nothing to tell."""
        name, row = self.futures.pop(future), {}
        try:
            result = future.result()
        except CancelledError:  # the scheduler is gone, and no run has failed
            raise
        except Exception as error:  # whatever went wrong there: the other runs go on
            row["error"] = f"{type(error).__name__}: {error}"
            if isinstance(error, distributed.KilledWorker):  # four workers, one after the other, were gone
                begun_with, self.begun_with[name] = self.begun_with[name], self.last[name].get()
                if self.begun_with[name] != begun_with:  # but it went on meanwhile
                    return self.submit(name)
        else:
            if result is None:  # a worker of other versions, which came later
                return self.submit(name, workers=self.allowed)
            row, checkpoint = result
            keep(self.out, name, checkpoint)
        self.failed += "error" in row
        add_row(self.out, {"run": name, **columns_of(*self.runs[name]), "versions": as_json(self.versions), **row})
        self.where.pop(name, None)
        return f"{name}: {row.get('error', 'done')}"

    def forget(self):
        """Let the scheduler forget the checkpoints."""
        with suppress(Exception):  # if it is gone it has
            for variable in self.last.values():
                variable.delete()


def workers_like_this_one(client):
    """Their addresses. Raises ValueError if one has other versions, or several threads, which wait for each other."""
    ours = versions()
    try:
        found = client.run(versions)
    except Exception as error:  # whatever a worker without the library, or of another Python, makes of it
        raise ValueError(f"the workers cannot run this: {type(error).__name__}: {error}") from error
    for worker, theirs in found.items():
        if theirs != ours:
            raise ValueError(f"worker {worker} has {as_json(theirs)}, not {as_json(ours)} as here")
    for worker, threads in client.nthreads().items():
        if threads > 1:
            raise ValueError(f"worker {worker} has {threads} threads, which would wait for each other: start workers "
                             f"with --nthreads 1")
    return [*found]


def keep(out, name, checkpoint):
    """Put the bytes into the run's folder; those before stay beside them."""
    file = out / name / "checkpoint.h5"
    file.parent.mkdir(exist_ok=True)
    write_atomically(file, checkpoint, before(file))


def columns_of(given, preset):
    """Of a run's settings, what stands in its row."""
    settings = configure(given, preset)
    return {"objective": settings["objective"], "preset": preset or "", "seed": settings["seed"],
            "strength": plain(settings["beta" if settings["objective"] == "beta" else "gamma"]),
            "capacity": plain(settings.get("capacity", "")), "steps": settings["steps"],
            "settings": as_json(settings)}


def read_rows(out):
    """{run: {column: text}} of results.csv. Raises ValueError if it is not as `add_row` left it."""
    file = out / "results.csv"
    if not file.exists():
        return {}
    rows = csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"), newline=""))
    if rows.fieldnames != COLUMNS:
        raise ValueError(f"{file} has other columns than a sweep's: give another folder")
    return {row["run"]: row for row in rows}


def add_row(out, row):
    """Written whole, so that who reads it meanwhile sees no half row."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({**read_rows(out), row["run"]: row}.values())
    write_atomically(out / "results.csv", text.getvalue().encode())


@figures.picture
def draw(rows, out):
    """PNGs of what the literature shows: scores by strength, if factors are known, and KL against reconstruction."""
    rows = [row for row in rows if not row["error"]]
    kinds = [*dict.fromkeys(kind_of(row) for row in rows)]
    scored = [name for name in NAMES if any(row[name] for row in rows)]
    if scored:
        figure = Figure(figsize=(2.2 * len(scored) + 1, 3), layout="constrained")
        for axis, name in zip(figure.subplots(1, len(scored)), scored):
            by_strength(axis, name, rows, kinds)
        finished(figure, out / "scores.png", kinds)
    if rows:
        figure = Figure(figsize=(4.5, 3.2), layout="constrained")
        axis = figure.subplots()
        axis.set_xlabel("KL (nats)", fontsize=8)
        axis.set_ylabel("reconstruction loss (nats)", fontsize=8)
        axis.set_title("what a nat of KL buys, a point a run, with its strength", fontsize=9)
        for row in rows:
            at = float(row["kl"]), float(row["reconstruction"])
            axis.plot(*at, "o", ms=4, color=f"C{kinds.index(kind_of(row)) % 10}")
            axis.annotate(named(row["strength"]), at, (3, 3), textcoords="offset points", fontsize=6)
        finished(figure, out / "kl_reconstruction.png", kinds)


def by_strength(axis, name, rows, kinds):
    """A score as a distribution over seeds, of each kind of run, at each strength."""
    strengths = [*dict.fromkeys(row["strength"] for row in rows)]
    for i, kind in enumerate(kinds):
        at = np.arange(len(strengths)) + .7 * ((i + .5) / len(kinds) - .5)
        scores = [[float(row[name]) for row in rows if (kind_of(row), row["strength"]) == (kind, strength)]
                  for strength in strengths]
        axis.boxplot(scores, positions=at, widths=.6 / len(kinds), showfliers=False, manage_ticks=False,
                     medianprops={"color": f"C{i % 10}"})
        for x, values in zip(at, scores):
            axis.plot(np.full(len(values), x), values, ".", color=f"C{i % 10}", alpha=.6)
    axis.set_xticks(range(len(strengths)), [named(strength) for strength in strengths])
    axis.set_title(f"{NAMES[name]}, a point a seed", fontsize=9)
    axis.set_xlabel("strength: β, or γ", fontsize=8)


def kind_of(row):
    """What a run's colour stands for."""
    C = row["capacity"] and f"C = {named(row['capacity'])}"
    return " ".join(filter(None, (row["preset"], row["objective"], C)))


def named(schedule):
    """A number as it is, a schedule by its last value."""
    return f"… {schedule.rsplit(':', 1)[1]}" if ":" in schedule else schedule


def finished(figure, path, kinds):
    """Write a figure, with a legend of its colours."""
    for axis in figure.axes:
        figures.bare(axis)
    if len(kinds) > 1:
        figure.legend([Line2D([], [], color=f"C{i % 10}", marker="o", ms=4, ls="") for i in range(len(kinds))], kinds,
                      loc="outside lower center", fontsize=7, frameon=False)
    write_atomically(path, figures.png(figure))


if __name__ == "__main__":
    main()
