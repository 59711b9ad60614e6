"""How fast a training step is: tinybvae, and PyTorch where it is installed, on the same network, batch and threads.

Prints two tables, of kernels and of steps, and draws the second. A step goes from images to updated weights (forward,
backward, Adam). All take turns in one process, so that whatever else the machine does slows all of them alike; times
are medians. Rates count the convolutions' arithmetic as in the formula, even where a kernel saves some of it, and stand
beside what NumPy's float32 matrix product (sgemm) reaches on as many threads. At the end come a step while another
program keeps one core busy, and a step beside one that torch.compile made, which takes a minute to make. --avx2 adds a
column from a process in which neither tinybvae nor PyTorch may use AVX-512, which most laptops' processors do not have.
"""

import itertools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numba
import numpy as np
from llvmlite import binding

import tinybvae as tb
from tinybvae.convolution import conv2d, conv2d_transpose, conv2d_weight
from tinybvae.data.files import write_atomically
from tinybvae.kernels.threads import BOARD, JOBS, set_num_threads
from tinybvae.report.drawing import Figure, bare, saved
from tinybvae.runs.commandline import Parser, path, positive_int, say, thread_count

try:
    import torch
    from torch import nn
    from torch.nn import functional as F
except ModuleNotFoundError:
    torch = None

OURS = "tinybvae"
RIVALS = {} if torch is None else {"PyTorch contiguous": torch.contiguous_format,
                                   "PyTorch channels-last": torch.channels_last}
NAMES = [OURS, *RIVALS]
SECONDS = .15  # at least, of each turn
SGEMM = """
import time, numpy as np
a, b, c = np.random.default_rng(0).random((3, 2048, 2048), np.float32)
times = []
for _ in range(12):
    start = time.perf_counter()
    np.matmul(a, b, out=c)
    times.append(time.perf_counter() - start)
print(2 * 2048 ** 3 / np.median(times[2:]))
"""


def main():
    parser = Parser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batches", type=positive_int, nargs="+", default=[16, 64, 256, 1024],
                        help="images a step (default: %(default)s)")
    parser.add_argument("--threads", type=thread_count, nargs="+", default=powers_of_two(thread_count()),
                        help="to share it (default: %(default)s)")
    parser.add_argument("--rounds", type=positive_int, default=7,
                        help="turns of each; their median counts (default: %(default)s)")
    parser.add_argument("--avx2", action="store_true", help="a column more: all of them without AVX-512")
    parser.add_argument("--out", type=path, default="runs/benchmark.png", help="the picture (default: %(default)s)")
    arguments = parser.parse_args()
    out = Path(arguments.out)
    try:
        if out.suffix != ".png":
            raise ValueError(f"--out {out}: give a name that ends in .png")
        if out.is_dir():
            raise ValueError(f"--out {out} is a folder: give a file")
        out.parent.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        parser.error(str(error))

    say(f"{processor()}, {os.cpu_count()} CPUs; Python {platform.python_version()}, NumPy {np.__version__}, "
          f"Numba {numba.__version__}, {f'PyTorch {torch.__version__}' if torch else 'no PyTorch to compare with'}\n")
    sgemm = {threads: sgemm_rate(threads) for threads in arguments.threads}
    say("| kernel, 32 → 32 channels, 32×32 pixels, batch 64 | threads | ms | GFLOP/s | of sgemm |")
    say("| --- | ---: | ---: | ---: | ---: |")
    for threads in arguments.threads:
        for name, seconds, flop in time_kernels(threads, arguments.rounds):
            say(f"| {name} | {threads} | {1e3 * seconds:.2f} | {flop / seconds / 1e9:.0f} "
                  f"| {flop / seconds / sgemm[threads]:.0%} |")

    narrow = without_avx512(arguments) if arguments.avx2 else {}
    say(f"\n| threads | batch | {' | '.join(f'{name}, ms' for name in NAMES)} | images/s | convolutions, of sgemm |"
          f"{' times as fast as PyTorch |' if RIVALS else ''}{' by AVX2 |' if narrow else ''}")
    say("|" + " ---: |" * (len(NAMES) + 4 + bool(RIVALS) + bool(narrow)))
    results, usual = {}, min(arguments.batches, key=lambda batch: abs(batch - 64))

    def say_row(threads, batch, remark=""):
        seconds, flop = time_steps(threads, batch, arguments.rounds)
        row = [f"{threads}{remark}", batch, *(f"{1e3 * seconds[name]:.1f}" for name in NAMES),
               f"{batch / seconds[OURS]:,.0f}", f"{flop / seconds[OURS] / sgemm[threads]:.0%}"]
        if RIVALS:
            row.append(f"{min(seconds[name] for name in RIVALS) / seconds[OURS]:.2f}")
        if narrow:
            row.append(narrow.get((row[0], str(batch)), ""))
        say(f"| {' | '.join(map(str, row))} |")
        return seconds

    for threads, batch in itertools.product(arguments.threads, arguments.batches):
        results[threads, batch] = say_row(threads, batch)
    with busy_program():
        say_row(max(arguments.threads), usual, ", beside a busy program")
    say_scaling(results, arguments)
    say(f"\na step is {calls_of_a_step()} calls of kernels")
    if torch:
        say(f"\n{compiled(max(arguments.threads), usual, arguments.rounds)}")
    try:
        write_atomically(out, draw(results, arguments.threads, arguments.batches))
    except OSError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    say(f"\nsee {out}")


def say_scaling(results, arguments):
    """What more threads bring: a line for each batch."""
    few, many = min(arguments.threads), max(arguments.threads)
    for batch in arguments.batches:
        times = results[few, batch][OURS] / results[many, batch][OURS]
        say(f"\nbatch {batch}: {times:.2f} times as fast on {many} threads as on {few}")


def without_avx512(arguments):
    """{(threads, batch): the last column} of this benchmark, run in a process that may not use AVX-512."""
    features = binding.get_host_cpu_features()
    features.update({name: False for name in features if name.startswith("avx512")})
    limits = {"NUMBA_CPU_FEATURES": features.flatten(), "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2",
              "OPENBLAS_CORETYPE": "Haswell"}
    with tempfile.TemporaryDirectory() as folder:
        limits["TORCHINDUCTOR_CACHE_DIR"] = folder  # what torch.compile keeps is not for other processors
        printed = subprocess.run(
            [sys.executable, __file__, "--out", f"{folder}/avx2.png", "--rounds", str(arguments.rounds),
             "--batches", *map(str, arguments.batches), "--threads", *map(str, arguments.threads)],
            env={**os.environ, **limits}, check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if line.startswith("|")]
    return {(row[0], row[1]): row[-1] if RIVALS else f"{row[2]} ms" for row in rows[2:]}


def calls_of_a_step():
    """How many kernels a training step calls."""
    step = our_step(tb.BetaVAE(), *batch_of(16))
    step()
    before = int(BOARD[JOBS])
    step()
    return int(BOARD[JOBS]) - before


def compiled(threads, batch, rounds):
    """A line on a step that torch.compile made, beside ours."""
    if not any(map(shutil.which, ("g++", "clang++", "cl"))):
        return "torch.compile needs a C++ compiler, and there is none"
    set_threads(threads)
    images, noise = batch_of(batch)
    try:
        ours, theirs = take_turns([our_step(tb.BetaVAE(), images, noise),
                                   torch_step(images, noise, torch.channels_last, torch.compile)], rounds)
    except RuntimeError as error:
        return f"torch.compile fails here: {str(error).partition(chr(10))[0]}"
    return (f"torch.compile on {threads} threads at batch {batch}: {1e3 * theirs:.1f} ms, tinybvae "
            f"{1e3 * ours:.1f} ms, {theirs / ours:.2f} times as fast")


def powers_of_two(most):
    """1, 2, 4 … and `most`."""
    return sorted({most, *(2 ** k for k in range(most.bit_length()) if 2 ** k < most)})


def processor():
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def sgemm_rate(threads):
    """Operations per second of NumPy's product of 2048×2048 matrices, in a process of its own, on `threads` threads."""
    limits = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "BLIS_NUM_THREADS",
                            "VECLIB_MAXIMUM_THREADS"), str(threads))
    return float(subprocess.run([sys.executable, "-c", SGEMM], env={**os.environ, **limits}, check=True,
                                capture_output=True, text=True).stdout)


@contextmanager
def busy_program():
    """Another process that never rests."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def take_turns(functions, rounds):
    """Median seconds of a call of each function: `rounds` turns, each an untimed call, then SECONDS or one call."""
    times = [[] for _ in functions]
    for _ in range(rounds):
        for function, taken in zip(functions, times):
            function()
            calls, start = 0, time.perf_counter()
            while calls == 0 or time.perf_counter() - start < SECONDS:
                function()
                calls += 1
            taken.append((time.perf_counter() - start) / calls)
    return [float(np.median(taken)) for taken in times]


def set_threads(threads):
    set_num_threads(threads)
    if torch:
        torch.set_num_threads(threads)


def time_kernels(threads, rounds):
    """(name, seconds, floating-point operations) of each kernel."""
    set_threads(threads)
    rng = np.random.default_rng(0)
    big, w, small = (rng.standard_normal(shape, np.float32)
                     for shape in ((64, 32, 32, 32), (4, 4, 32, 32), (64, 16, 16, 32)))
    calls = {"conv2d": lambda: conv2d(big, w), "conv2d_transpose": lambda: conv2d_transpose(small, w),
             "conv2d_weight": lambda: conv2d_weight(big, small)}
    seconds = take_turns([*calls.values()], rounds)
    return [(name, s, 2 * w.size * 64 * 16 * 16) for name, s in zip(calls, seconds)]


def time_steps(threads, batch, rounds):
    """{name: median seconds of a step}, and the operations of its convolutions."""
    set_threads(threads)
    images, noise = batch_of(batch)
    model = tb.BetaVAE()
    steps = [our_step(model, images, noise), *(torch_step(images, noise, layout) for layout in RIVALS.values())]
    return dict(zip(NAMES, take_turns(steps, rounds))), convolution_operations(model, batch)


def batch_of(size):
    """Images and noise."""
    rng, sprites = np.random.default_rng(0), tb.DSprites()
    return sprites.images(rng.integers(len(sprites), size=size)), rng.standard_normal((size, 10), np.float32)


def convolution_operations(model, batch):
    """Operations of the forward and both backward passes (dx and dw); the first layer has only one of these two."""
    total = 0
    for layer in (*model.encoder.layers.values(), *model.decoder.layers.values()):
        if isinstance(layer, (tb.Conv2d, tb.ConvTranspose2d)):
            height, width = layer.x.shape[1:3]
            pixels = height * width // (4 if isinstance(layer, tb.Conv2d) else 1)
            total += (3 if layer.input_grad else 2) * 2 * layer.parameters["weight"].size * pixels * batch
    return total


def our_step(model, images, noise):
    objective, adam = tb.capacity_objective(), tb.Adam(model.parameters)

    def step():
        model.loss_and_gradients(images, noise, objective, 0)
        adam.update(model.gradients)
    return step


def torch_step(images, noise, memory_format, made=lambda loss: loss):
    """One step of the same network in PyTorch, with its fused Adam; `made` wraps the function of the loss."""
    images = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
    noise = torch.from_numpy(noise)
    channels = (1, 32, 32, 32, 32)
    encoder = [layer for pair in zip(channels, channels[1:]) for layer in (nn.Conv2d(*pair, 4, 2, 1), nn.ReLU())]
    decoder = [layer for pair in zip(channels[:0:-1], channels[-2::-1])
               for layer in (nn.ConvTranspose2d(*pair, 4, 2, 1), nn.ReLU())][:-1]
    model = nn.ModuleList([
        nn.Sequential(*encoder, nn.Flatten(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(),
                      nn.Linear(256, 20)),
        nn.Sequential(nn.Linear(10, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 512), nn.ReLU(),
                      nn.Unflatten(1, (32, 4, 4)), *decoder)]).to(memory_format=memory_format)
    adam = torch.optim.Adam(model.parameters(), 5e-4, fused=True)

    @made
    def loss():
        mean, logvar = model[0](images).chunk(2, 1)
        logits = model[1](mean + (logvar / 2).exp() * noise)
        nll = F.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(images)
        kl = (mean ** 2 + logvar.exp() - 1 - logvar).sum() / 2 / len(images)
        return nll + 100 * kl.abs()

    def step():
        adam.zero_grad()
        loss().backward()
        adam.step()
    return step


def draw(results, threads, batches):
    """PNG: images a second by batch, a panel for each number of threads."""
    figure = Figure(figsize=(3.4 * len(threads) + 1, 3.2), layout="constrained")
    panels = figure.subplots(1, len(threads), sharey=True, squeeze=False)[0]
    for panel, count in zip(panels, threads):
        for name, color in zip(NAMES, ("#d1495b", "#8d99ae", "#222222")):
            panel.plot(batches, [batch / results[count, batch][name] for batch in batches], color=color, marker="o",
                       ms=4, label=name)
        panel.set_title(f"{count} thread{'s' * (count > 1)}", fontsize=9)
        panel.set_xscale("log", base=2)
        panel.set_xticks(batches, batches)
        panel.set_xlabel("batch", fontsize=8)
        bare(panel)
    panels[0].set_ylim(bottom=0)  # of all, since they share it: so once all curves are drawn
    panels[0].set_ylabel("images trained on in a second", fontsize=8)
    panels[0].legend(fontsize=7, frameon=False)
    return saved(figure)


if __name__ == "__main__":
    main()
