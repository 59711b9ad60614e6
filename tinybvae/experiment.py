"""The command line of an experiment in parts, the figures of a paper: each is done once, and its numbers stay."""

import json
import sys
import time
from pathlib import Path

import numba

from tinybvae.checkpoint import as_json
from tinybvae.commandline import Parser, path, say, thread_count
from tinybvae.files import locked, write_atomically


def reproduce(description, parts, name):
    """Run functions `(out, quick) -> numbers`, one after the other, and keep what they return in --out's numbers.json.

    A part draws into the folder `out`, and returns what JSON can hold; `quick` asks for a form that takes seconds. One
    that is in numbers.json already is not done again, so that the same command goes on where it was stopped.
    """
    parser = Parser(description=description)
    parser.add_argument("--quick", action="store_true", help="a form of under two minutes, to see that all of it works")
    parser.add_argument("--out", type=path, metavar="FOLDER",
                        help=f"(default: runs/{name}, and with --quick runs/{name}-quick)")
    parser.add_argument("--threads", type=thread_count, default=thread_count(), help="the result does not depend on it "
                        "(default: all)")
    options = parser.parse_args()
    numba.set_num_threads(options.threads)
    out = Path(options.out or f"runs/{name}{'-quick' if options.quick else ''}")
    file, form = out / "numbers.json", {"quick": options.quick}
    try:
        if out.exists() and not out.is_dir():
            raise ValueError(f"--out {out} is a file: give a folder")
        out.mkdir(parents=True, exist_ok=True)
        with locked(out):
            numbers = _read(file) if file.exists() else form
            if numbers.get("quick") != options.quick:
                raise ValueError(f"--out {out} holds the {'full' if options.quick else 'quick'} form's results: give "
                                 f"another folder")
            for part in parts:
                if part.__name__ in numbers:
                    say(f"{part.__name__}: done before")
                    continue
                say(f"\n{part.__name__}: {part.__doc__.splitlines()[0]}")
                start = time.perf_counter()
                numbers[part.__name__] = part(out, options.quick)
                write_atomically(file, as_json(numbers, indent=1, ensure_ascii=False).encode())
                for key, value in numbers[part.__name__].items():
                    say(f"  {key}: {as_json(value, ensure_ascii=False)}")
                say(f"  {(time.perf_counter() - start) / 60:.1f} minutes")
    except (ValueError, ArithmeticError, MemoryError, OSError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        say("stopped: the same command goes on")
        sys.exit(130)
    say(f"\nsee {out}")


def _read(file):
    """The numbers in a file. Raises ValueError if they cannot be read."""
    try:
        return dict(json.loads(file.read_bytes()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is damaged: remove it, and only the figures are drawn again") from error
