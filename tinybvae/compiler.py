"""Numba's decorators as this project uses them: `jit` for parts of kernels, `parallel` for kernels with prange."""

import warnings

import numba


def _compiler(**options):
    """Numba's decorator, for compiled functions that are kept for the next process where there is a place for them."""
    def decorate(function):
        try:
            return numba.njit(cache=True, error_model="numpy", **options)(function)
        except RuntimeError as error:  # Numba's "no locator available"
            if "cannot cache" not in str(error):
                raise
            warnings.warn("no writable folder to keep compiled kernels in: compiling anew in each process, about 20 "
                          "seconds (NUMBA_CACHE_DIR names one)", RuntimeWarning, stacklevel=2)
            return numba.njit(error_model="numpy", **options)(function)
    return decorate


jit = _compiler(forceinline=True)
parallel = _compiler(parallel=True)
