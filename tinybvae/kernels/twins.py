"""Twins: what the course says plainly, and what runs in its place."""

import functools

import numba

TWINS = {}  # {name: the function of the course}


def accelerated(fast):
    """A decorator, for a function whose fast twin takes the same arguments, and returns the same but for rounding.

    To call it is to call the twin, which also refuses arrays that do not fit; `.plain` is its own body. Under
    NUMBA_DISABLE_JIT=1 the bodies run, to be stepped through with a debugger.
    """
    def decorate(plain):
        chosen = plain if numba.config.DISABLE_JIT else fast

        @functools.wraps(plain)
        def function(*arguments, **options):
            return chosen(*arguments, **options)

        function.plain, function.fast = plain, fast
        TWINS[plain.__name__] = function
        return function
    return decorate
