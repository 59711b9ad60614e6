"""Numba's decorators as this project uses them: `jit` for parts of kernels, `parallel` for kernels with prange.

Numba keeps what it has compiled, by file and name, and compiles it again if the file has changed. It does not notice
changes of another file from which a kernel has parts: so the name says which versions of those a kernel was made with.
"""

import functools
import pkgutil
import warnings
import zlib

import numba

PARTS = zlib.crc32(b"".join(pkgutil.get_data(__package__, name) for name in ("compiler.py", "gemm.py", "im2col.py")))


def _compiler(**options):
    """Numba's decorator, for compiled functions that are kept for the next process where there is a place for them."""
    def decorate(function):
        function.__qualname__ += f"_{PARTS:08x}"
        try:
            return numba.njit(cache=True, error_model="numpy", **options)(function)
        except RuntimeError as error:  # Numba's "no locator available"
            if "cannot cache" not in str(error):
                raise
            _warn_of_no_folder()
            return numba.njit(error_model="numpy", **options)(function)
    return decorate


@functools.cache  # once, whatever other modules do to Python's own memory of warnings
def _warn_of_no_folder():
    warnings.warn("no folder to keep compiled kernels in: this process compiles its own, in about 20 seconds "
                  "(set NUMBA_CACHE_DIR to a folder that can be written to)", RuntimeWarning)


jit = _compiler(forceinline=True)
parallel = _compiler(parallel=True)
