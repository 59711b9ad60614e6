"""Numba's decorators as this project uses them: `jit` for parts of kernels, `parallel` for kernels with prange.

Numba keeps what it has compiled by source file, and does not notice that a kernel's parts come from another one: after
an edit of `product` or `direct`, remove `__pycache__`.
"""

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
            warnings.warn("no folder to keep compiled kernels in: this process compiles its own, in about 20 seconds "
                          "(set NUMBA_CACHE_DIR to a folder that can be written to)", RuntimeWarning)
            return numba.njit(error_model="numpy", **options)(function)
    return decorate


jit = _compiler(forceinline=True)
parallel = _compiler(parallel=True)
