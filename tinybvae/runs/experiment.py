"""The command line of an experiment in parts, such as a paper's figures: each is done once, and its numbers stay."""

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from tinybvae.data.files import write_atomically
from tinybvae.kernels.threads import set_num_threads
from tinybvae.runs.commandline import Parser, path, say, thread_count
from tinybvae.runs.description import as_json
from tinybvae.runs.locks import locked


def reproduce(description, parts, name):
    """Run functions `(out, quick) -> numbers`, one after the other, and keep what they return in --out's numbers.json.

    A part draws into the folder `out`, and returns a dict that JSON can hold; `quick` asks for a form that takes
    seconds. A part that is in numbers.json already is not done again: the same command goes on where it was stopped.
    """
    parser = Parser(description=description)
    parser.add_argument("--quick", action="store_true", help="a form of under two minutes, to see that all of it works")
    parser.add_argument("--out", type=path, metavar="FOLDER",
                        help=f"(default: runs/{name}, and with --quick runs/{name}-quick)")
    parser.add_argument("--threads", type=thread_count, default=thread_count(), help="the result does not depend on it "
                        "(default: all)")
    options = parser.parse_args()
    set_num_threads(options.threads)
    out = Path(options.out or f"runs/{name}{'-quick' if options.quick else ''}")
    with ExitStack() as lock:
        try:
            numbers = _begin(out, {"experiment": name, "quick": options.quick}, lock)
            for part in parts:
                if part.__name__ in numbers:
                    say(f"{part.__name__}: done before")
                else:
                    _do(part, out, options.quick, numbers)
        except ValueError as error:
            parser.error(str(error))
        except (ArithmeticError, MemoryError, OSError) as error:
            parser.exit(1, f"{parser.prog}: {error}; what is done stays in {out}\n")
        except KeyboardInterrupt:
            say("stopped: the same command goes on, with the part that was stopped")
            sys.exit(130)
    say(f"\nsee {out}")


def _begin(out, form, lock):
    """The numbers of the parts that are done in a folder, which stays locked until the ExitStack ends.

    Raises ValueError if the folder holds another experiment's numbers or the other form's, is in use, or is no folder.
    """
    file = out / "numbers.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.enter_context(locked(out))
    except OSError as error:
        raise ValueError(f"--out {out}: give a folder that can be written to ({error.strerror})") from error
    if not file.exists():
        write_atomically(file, as_json(form).encode())
    try:
        numbers = json.loads(file.read_bytes())
        found = {key: numbers[key] for key in form}
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{file} is damaged: remove it, and its parts are done again") from error
    if found != form:
        raise ValueError(f"--out {out} holds {'the quick' if found['quick'] else 'the full'} form of "
                         f"{found['experiment']}: give another folder")
    return numbers


def _do(part, out, quick, numbers):
    """Do a part, and add what it found to numbers.json."""
    say(f"\n{part.__name__}" + f": {(part.__doc__ or '').partition(chr(10))[0]}" * (not quick))
    start = time.perf_counter()
    numbers[part.__name__] = part(out, quick)
    write_atomically(out / "numbers.json", as_json(numbers, indent=1, ensure_ascii=False).encode())
    if quick:
        say("  it works; what it found after a few steps means nothing")
    else:
        for key, value in numbers[part.__name__].items():
            say(f"  {key}: {as_json(value, ensure_ascii=False)}")
    say(f"  {(time.perf_counter() - start) / 60:.1f} minutes")
