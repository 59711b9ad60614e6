"""Many runs of examples/train_dsprites.py, on this machine or a cluster, by Dask (pip install ".[sweep]").

python examples/sweep.py --beta 1 4 16 --seed 0 1 2 --steps 4000
python examples/sweep.py --beta 1 4 16 --seed 0 1 2 --steps 4000 --scheduler tcp://host:8786

Every option of a run may have several values: each combination is a run. Results arrive in results.csv, a row for each
run, and checkpoints in folders that have the runs' names. The same command goes on where it was stopped.
"""

import csv
import hashlib
import importlib.util
import io
import itertools
import json
import platform
import queue
import re
import sys
import tempfile
import time
import uuid
from concurrent.futures import CancelledError
from contextlib import ExitStack, redirect_stdout, suppress
from pathlib import Path

import numba
import numpy as np

import tinybvae as tb
from tinybvae.data.files import write_atomically
from tinybvae.kernels.threads import set_num_threads
from tinybvae.metrics import NAMES
from tinybvae.report import describe
from tinybvae.report.drawing import Figure, bare, matplotlib, saved, styled
from tinybvae.report.page import used
from tinybvae.runs.checkpoint import before, newest_of
from tinybvae.runs.commandline import Parser, as_text, path, progress, say, thread_count
from tinybvae.runs.description import as_json
from tinybvae.runs.folder import new_run, opened, require_batch, score_if_due
from tinybvae.runs.locks import locked
from tinybvae.runs.settings import (CHOICES, DEFAULTS, OBJECTIVES, PRESETS, PRESETS_HELP, add_settings, configure,
                                    given_settings, objective_of, with_later)

try:
    import cloudpickle
    import distributed
except ImportError:
    distributed = None

COLUMNS = ["run", "preset", *DEFAULTS, *NAMES, "reconstruction", "kl", "nine_images", "used", "units_off", "minutes",
           "worker", "versions", "settings", "error"]
LONGEST = 100  # characters of a folder's name
UNSAID = "steps", "batch_size", "data", "checkpoint_every", "evaluate_every"  # in names, unless they vary
AXES = "beta", "gamma", "capacity"  # what the scores are drawn by, if it varies, before anything else that does
TOPIC = "tinybvae sweep"  # of the events by which workers say how far they are
PATIENCE = 20  # seconds that a scheduler has to answer
LOSSES = 4  # of workers, one after the other, by a run that comes no further meanwhile: then it fails


def main():
    parser = Parser(description=(__doc__ or "").partition("\n")[0])
    add_grid(parser)
    options = parser.parse_args()
    out = Path(options.out)
    with ExitStack() as stack:
        try:
            if not distributed:
                raise ValueError('this needs Dask: pip install ".[sweep]"')
            runs = grid(options)
            settings = [configure(*run) for run in runs.values()]
            if not options.scheduler:  # this machine has the files that all runs will read
                data = {path: tb.load_data(path) for path in dict.fromkeys(one["data"] for one in settings)}
                for one in settings:
                    require_batch(one, data[one["data"]])
            left = begin(runs, out, stack)
            if left and not options.scheduler:
                workers = min(workers_here(options.threads), len(left))
                say(cost(left, workers, data, options.threads))
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
    parser.add_argument("--preset", nargs="+", choices=PRESETS, help=PRESETS_HELP)
    add_settings(parser, nargs="+")
    parser.add_argument("--out", type=path, default="runs/sweep", metavar="FOLDER",
                        help="for the results (default: %(default)s)")
    parser.add_argument("--threads", type=thread_count, default=1, help="of a run (default: 1, which wastes the least)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a cluster that is there, such as tcp://host:8786; "
                        "without it, this machine: as many workers as its cores have room for")


def grid(options):
    """{name: (given settings, preset)} of all runs: of all combinations of values, without what an objective ignores.

    If no objective is given, it is that to which the other options belong. Raises ValueError as `configure` does.
    """
    given, presets, runs = given_settings(options), options.preset or [None], {}
    given = {name: given[name] for name in DEFAULTS if name in given}  # in one order, whatever the command's
    said = [name for name, values in given.items() if name != "seed" and (len(values) > 1 or name not in UNSAID)]
    belong = {objective: given.keys() & names for objective, (_, names) in OBJECTIVES.items()}
    if "objective" not in given and any(belong.values()):
        given = {"objective": [objective for objective, names in belong.items() if names], **given}
    objectives = given.get("objective", [])
    for preset, *values in itertools.product(presets, *given.values()):
        one = dict(zip(given, values))
        if len(objectives) > 1:
            one = {name: value for name, value in one.items() if not any(
                name in names for objective, names in belong.items() if objective != one["objective"])}
        parts = [preset, *(label(name, one[name]) for name in said if name in one), f"seed{one.setdefault('seed', 0)}"]
        name, run = "-".join(filter(None, parts)), (one, preset)
        if len(name) > LONGEST or runs.get(name, run) != run:
            name = f"{name[:LONGEST - 9]}-{digest(as_json(run), 8)}"
        runs[name] = run
    return runs


def label(name, value):
    """What a setting adds to a run's name, such as "beta4" or "higgins2017"."""
    text = re.sub(r"[^\w.+-]+", "_", str(short(value)))
    return text if name in (*CHOICES, "likelihood") else name + text


def short(value):
    """A setting in few characters: itself, or a schedule's first and last value, and four letters for the others."""
    if not isinstance(value, list):
        return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e6 else value
    (_, first), *_, (_, last) = value
    return f"{short(first)}to{short(last)}_{digest(as_text(value), 4)}"


def digest(text, letters):
    return hashlib.sha256(text.encode()).hexdigest()[:letters]


def cost(runs, workers, data, threads):
    """A line that says what these runs will cost on this machine, from a few steps of the first; `data` by path."""
    each = [configure(*run) for run in runs.values()]
    settings, total = each[0], sum(one["steps"] for one in each)
    data = data[settings["data"]]
    set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        run = new_run(settings, Path(folder), data.image_shape)
        for steps in 2, 12:
            start = time.perf_counter()
            tb.train(run, data, objective_of(settings), steps, settings["batch_size"], quiet=True)
    hours = (time.perf_counter() - start) / 10 * total / workers / 3600
    return f"{len(runs)} runs, {total:,} steps in all: about {hours:.1f} hours, and half a minute a run for its scores"


def begin(runs, out, stack):
    """Those of `runs` that are not yet done in the folder `out`, which stays locked until the ExitStack ends.

    Raises ValueError if the folder holds a run, done or not, of the same name and other settings.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file: give a folder")
    out.mkdir(parents=True, exist_ok=True)
    stack.enter_context(locked(out))
    done = {name: json.loads(row["settings"]) for name, row in read_rows(out).items() if not row["error"]}
    for name, run in runs.items():
        settings, checkpoint = json.loads(as_json(configure(*run))), newest_of(out / name / "checkpoint.h5")
        found = [*([done[name]] if name in done else []), *([tb.load(checkpoint).settings] if checkpoint else [])]
        if any(with_later(one) != settings for one in found):
            raise ValueError(f"--out {out} holds {name} with other settings: give another folder")
    return {name: run for name, run in runs.items() if name not in done}


def client_of(options, runs, stack):
    """A client of the cluster that is there, or of one on this machine; both are closed with the ExitStack."""
    if not options.scheduler:
        here = "127.0.0.1:0"  # and any port; else their HTTP servers, unlike the rest, listen to the whole network
        cluster = stack.enter_context(distributed.LocalCluster(
            n_workers=min(workers_here(options.threads), runs), threads_per_worker=1, memory_limit=0,
            dashboard_address=here, worker_dashboard_address=here))
        return stack.enter_context(distributed.Client(cluster))
    try:
        return stack.enter_context(distributed.Client(options.scheduler, timeout=PATIENCE))
    except Exception as error:  # whatever Dask makes of the address, or of its configuration for TLS
        raise ValueError(f"--scheduler {options.scheduler}: no scheduler answers there ({error})") from error


def workers_here(threads):
    """How many runs of so many threads this machine has room for."""
    return max(1, numba.config.NUMBA_NUM_THREADS // threads)


def versions():
    """What a run's bits depend on, beside its settings and its processor: all workers must have the same."""
    sources = sorted(Path(tb.__file__).parent.rglob("*.py"))
    return {"tinybvae": hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()[:8],
            "python": platform.python_version(), "numpy": np.__version__, "numba": numba.__version__}


def refusal(theirs, threads, wanted):
    """Why a worker trains no run, if it answers with these versions or an exception and has so many threads; or ""."""
    if isinstance(theirs, Exception):
        return f"cannot run this: {type(theirs).__name__}: {theirs}"
    if theirs != wanted:
        return f"has {as_json(theirs)}, and this sweep has {as_json(wanted)}"
    if threads > 1:
        return f"has {threads} threads, which would wait for each other: start workers with --nthreads 1"
    return ""


def refusals(client, workers, wanted):
    """{address: why it trains no run, or ""} of these workers, which may be gone by then."""
    if not workers:
        return {}
    threads = client.nthreads()
    # A function of the standard library is sent by its name. One of ours might crash another version of Python.
    found = client.run(platform.python_version, workers=workers, on_error="return")
    found = {worker: {"python": python} if isinstance(python, str) else python for worker, python in found.items()}
    same = [worker for worker in workers if found[worker] == {"python": wanted["python"]}]
    found.update(client.run(versions, workers=same, on_error="return"))
    return {worker: refusal(found[worker], threads.get(worker, 1), wanted) for worker in workers}


def train_one(name, token, given, preset, threads, wanted):
    """On a worker: the row of a run, trained to its end from its last checkpoint, if there is one.

    The scheduler keeps the checkpoint, as a distributed.Variable: there it outlives the worker. Returns None if this
    worker is not the one that was asked, but another at its address which cannot train runs, or if its files have
    changed.
    """
    worker = distributed.get_worker()
    if refusal(versions(), worker.state.nthreads, wanted):
        return None
    last, start, encoded = distributed.Variable(f"{token}-{name}"), time.perf_counter(), None
    task = worker.state.tasks[worker.get_current_task()]
    set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    with tempfile.TemporaryDirectory(dir=worker.local_directory) as folder, redirect_stdout(io.StringIO()):
        checkpoint = Path(folder) / "checkpoint.h5"
        content = last.get()
        if content:
            checkpoint.write_bytes(content)
        with opened(folder, given, preset, resume=bool(content)) as (run, data):
            settings = run.settings

            def save(run):
                nonlocal encoded
                if task.state == "cancelled":  # the client is gone; only the task can stop itself
                    raise InterruptedError(f"{name} is wanted no more")
                encoded = score_if_due(run, data)
                tb.save(run, checkpoint)
                last.set(checkpoint.read_bytes())
                worker.log_event(TOPIC, {"token": token, "run": name, "worker": worker.address,
                                         "step": run.step, "steps": settings["steps"]})

            tb.train(run, data, objective_of(settings), settings["steps"], settings["batch_size"],
                     settings["checkpoint_every"], save)
        scores = run.scores[-1] if run.scores else {}  # none if no factors are known
        measured, losses = describe(run, data, encoded), tb.metrics.losses(run.model, data)
        del losses["least"]
        return {**{score: scores.get(score, "") for score in NAMES}, **losses,
                "used": used(measured["latents"]),
                "units_off": sum(off for off, _ in measured["units_off"].values()),
                "minutes": round((time.perf_counter() - start) / 60, 1), "worker": worker.address}


def sweep(client, runs, out, threads):
    """Train runs {name: (settings, preset)}; what arrives goes into `out`. Returns how many failed.

    Raises ValueError if a worker is there that cannot train them. If such a worker comes later, it is named, and gets
    no run.
    """
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers have the library, not the examples
    wanted = versions()
    workers = refusals(client, [*client.nthreads()], wanted)
    for worker, reason in workers.items():
        if reason:
            raise ValueError(f"worker {worker} {reason}")
    page = f"; what runs where: {client.dashboard_link}" * (importlib.util.find_spec("bokeh") is not None)
    say(f"{len(runs)} runs on {len(workers)} workers{page}")
    on_the_way = OnTheWay(client, runs, out, threads, wanted, workers)
    try:
        with progress(total=len(runs), unit="run") as bar:
            tell = say if bar.disable else bar.write
            while on_the_way.waiting or on_the_way.futures:
                for line in on_the_way.look():
                    tell(line)
                on_the_way.pause()
                for line in on_the_way.keep_checkpoints():
                    if bar.disable:  # in a terminal the bar shows it
                        tell(line)
                for line in on_the_way.keep_results():
                    tell(line)
                    bar.update()
                bar.set_postfix_str("; ".join(on_the_way.where.values()))
    except OSError as error:
        if isinstance(error, distributed.comm.CommClosedError) or client.status != "running":
            raise CancelledError from error  # not a disk's error: the scheduler is gone, and its runs say it so
        raise
    finally:
        on_the_way.forget()
    return on_the_way.failed


class OnTheWay:
    """Runs that a cluster works on: `futures` {future: (name, worker)}, and the names of those `waiting` for a worker.

    Each run is sent to one worker that has nothing else to do, and may go to no other: so a worker that cannot train
    runs gets none. `workers` {address: why it trains no run, or ""} are those that are there; `where` {name: how far,
    on which worker}.
    """

    def __init__(self, client, runs, out, threads, wanted, workers):
        self.client, self.runs, self.out, self.threads, self.versions = client, runs, out, threads, wanted
        self.workers, self.waiting, self.futures, self.where, self.failed = workers, [*runs], {}, {}, 0
        self.begun_with, self.lost, self.alone = {}, dict.fromkeys(runs, 0), False
        self.token, self.news = uuid.uuid4().hex, queue.SimpleQueue()  # other sweeps may be there, of the same names
        client.subscribe_topic(TOPIC, lambda event: self.news.put(event[1]))
        self.last = {name: distributed.Variable(f"{self.token}-{name}", client=client) for name in runs}
        for name, variable in self.last.items():
            checkpoint = newest_of(out / name / "checkpoint.h5")
            self.begun_with[name] = checkpoint.read_bytes() if checkpoint else b""
            variable.set(self.begun_with[name])

    def look(self):
        """Ask the workers that came since, and give runs to free ones. Returns lines about those that get none."""
        tasks = self.client.processing()
        new = refusals(self.client, [worker for worker in tasks if worker not in self.workers], self.versions)
        known = {**self.workers, **new}
        self.workers = {worker: known[worker] for worker in tasks}
        taken = {worker for _, worker in self.futures.values()}
        fit = [worker for worker, reason in self.workers.items() if not reason]
        for worker in fit:
            if self.waiting and not tasks[worker] and worker not in taken:  # nor has another sweep a run there
                self.submit(self.waiting.pop(0), worker)
        lines = [f"worker {worker} gets no run: it {reason}" for worker, reason in new.items() if reason]
        if not fit and not self.alone:
            lines.append("no worker is there for the runs: they wait for one")
        self.alone = not fit
        return lines

    def submit(self, name, worker):
        future = self.client.submit(train_one, name, self.token, *self.runs[name], self.threads, self.versions,
                                    key=f"{name}-{uuid.uuid4()}", workers=[worker])
        self.futures[future] = name, worker

    def pause(self):
        """Wait until a run has ended, but not for long."""
        if not self.futures:
            time.sleep(.2)
        else:
            with suppress(distributed.TimeoutError):
                distributed.wait([*self.futures], timeout=.2, return_when="FIRST_COMPLETED")

    def keep_checkpoints(self):
        """Keep the checkpoints that came since; returns a line for each."""
        events, running = {}, {name for name, _ in self.futures.values()}
        while not self.news.empty():
            event = self.news.get()
            if event["token"] == self.token and event["run"] in running:  # not of one that has ended
                events[event["run"]] = event
        for name, event in events.items():
            keep(self.out, name, self.last[name].get())
            self.where[name] = "{run}: step {step}/{steps} on {worker}".format(**event)
        return [self.where[name] for name in events]

    def keep_results(self):
        """Keep those of runs that ended or whose workers are gone; returns a line for each that does not wait again."""
        ended = [future for future, (_, worker) in self.futures.items() if future.done() or worker not in self.workers]
        return [*filter(None, map(self._result, ended))]

    def _result(self, future):
        """Add the run's row, and return a line; or let the run wait for another worker, and return None."""
        name, worker = self.futures.pop(future)
        self.where.pop(name, None)
        row = None
        try:
            if future.done():
                row = future.result(PATIENCE)
        except CancelledError:  # the scheduler is gone, and no run has failed
            raise
        except Exception as error:  # whatever went wrong there: the other runs go on
            if future.status == "error" and not isinstance(error, distributed.KilledWorker):
                row = {"error": f"{type(error).__name__}: {error}"}
        if row is None:  # the worker is gone, or fits no more: whoever is at its address now is asked again
            future.cancel()
            self.workers.pop(worker, None)
            begun_with, self.begun_with[name] = self.begun_with[name], self.last[name].get()
            self.lost[name] = self.lost[name] + 1 if self.begun_with[name] == begun_with else 1
            if self.lost[name] < LOSSES:
                self.waiting.insert(0, name)
                return None
            row = {"error": f"{LOSSES} workers, one after the other, were gone before it had another checkpoint"}
        if "error" not in row:
            keep(self.out, name, self.last[name].get())
        self.failed += "error" in row
        add_row(self.out, {"run": name, **columns_of(*self.runs[name]), "versions": as_json(self.versions), **row})
        return f"{name}: {row.get('error', 'done')}"

    def forget(self):
        """Let the scheduler forget the checkpoints."""
        with suppress(Exception):  # if it is gone, so are they
            for variable in self.last.values():
                variable.delete()


def keep(out, name, checkpoint):
    """Put a checkpoint's bytes into the run's folder; the checkpoint before stays beside it."""
    file = out / name / "checkpoint.h5"
    file.parent.mkdir(exist_ok=True)
    write_atomically(file, checkpoint, before(file))


def columns_of(given, preset):
    """The columns of a run's row that come from its settings."""
    settings = configure(given, preset)
    return {"preset": preset, **{name: short(value) for name, value in settings.items()}, "settings": as_json(settings)}


def read_rows(out):
    """{run: {column: text}} of results.csv. Raises ValueError if it is not as `add_row` left it."""
    file = out / "results.csv"
    if not file.exists():
        return {}
    rows = csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"), newline=""))
    if rows.fieldnames != COLUMNS:
        raise ValueError(f"{file} has other columns than a sweep's of this version: give another folder")
    return {row["run"]: row for row in rows}


def add_row(out, row):
    """Add a row to results.csv, which is written whole, so that nobody who reads it meanwhile sees half a row."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({**read_rows(out), row["run"]: row}.values())
    write_atomically(out / "results.csv", text.getvalue().encode())


@styled
def draw(rows, out):
    """PNGs of what the literature shows: scores, if factors are known, and KL against reconstruction."""
    rows = [row for row in rows if not row["error"]]
    by = next((name for name in (*AXES, *DEFAULTS) if name != "seed" and varies(rows, name)), "steps")
    others = [name for name in ("preset", *DEFAULTS) if name not in (by, "seed") and varies(rows, name)]
    named = [" ".join(f"{name} {row[name]}" for name in others if row[name]) for row in rows]
    kinds = {kind: [row for row, its in zip(rows, named) if its == kind] for kind in dict.fromkeys(named)}
    scored = [name for name in NAMES if any(row[name] for row in rows)]
    if scored:
        figure = Figure(figsize=(2.2 * len(scored) + 1, 3), layout="constrained")
        for axis, name in zip(figure.subplots(1, len(scored), squeeze=False)[0], scored):
            scores(axis, name, by, kinds)
        finished(figure, out / "scores.png", kinds)
    if rows:
        figure = Figure(figsize=(4.5, 3.2), layout="constrained")
        axis = figure.subplots()
        axis.set_xlabel("KL (nats)", fontsize=8)
        axis.set_ylabel("reconstruction loss (nats)", fontsize=8)
        axis.set_title(f"what a nat of KL buys, a point a run, with its {by}", fontsize=9)
        for i, of_one_kind in enumerate(kinds.values()):
            for row in of_one_kind:
                at = float(row["kl"]), float(row["reconstruction"])
                axis.plot(*at, "o", ms=4, color=f"C{i % 10}")
                axis.annotate(row[by], at, (3, 3), textcoords="offset points", fontsize=6)
        finished(figure, out / "kl_reconstruction.png", kinds)


def varies(rows, name):
    return len({row[name] for row in rows}) > 1


def scores(axis, name, by, kinds):
    """A score as a distribution over seeds, by the values of the setting `by`, and of each kind of run."""
    values = [*dict.fromkeys(row[by] for rows in kinds.values() for row in rows)]
    for i, rows in enumerate(kinds.values()):
        at = np.arange(len(values)) + .7 * ((i + .5) / len(kinds) - .5)
        found = [[float(row[name]) for row in rows if row[by] == value and row[name]] for value in values]
        axis.boxplot(found, positions=at, widths=.6 / len(kinds), showfliers=False, manage_ticks=False,
                     medianprops={"color": f"C{i % 10}"})
        for x, each in zip(at, found):
            axis.plot(np.full(len(each), x), each, ".", color=f"C{i % 10}", alpha=.6)
    axis.set_xticks(range(len(values)), values)
    axis.set_title(f"{NAMES[name]}, a point a seed", fontsize=9)
    axis.set_xlabel(by, fontsize=8)


def finished(figure, path, kinds):
    """Write a figure, with a legend of its colours."""
    for axis in figure.axes:
        bare(axis)
    if len(kinds) > 1:
        line = matplotlib.lines.Line2D
        figure.legend([line([], [], color=f"C{i % 10}", marker="o", ms=4, ls="") for i in range(len(kinds))], kinds,
                      loc="outside lower center", fontsize=7, frameon=False)
    write_atomically(path, saved(figure))


if __name__ == "__main__":
    main()
