"""Numba's decorator as this project uses it: `jit` for parts of kernels; `threads.parallel` makes the kernels.

Numba keeps what it has compiled, by file and name, and compiles it again if the file has changed. It does not notice
changes of another file from which a kernel has parts: so the name says which versions of those a kernel was made with.
"""

import functools
import hashlib
import pickle
import pkgutil
import sys
import warnings
import zlib
from contextlib import suppress

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.codegen import JITCodeLibrary
from numba.core.registry import CPUDispatcher
from numba.core.serialize import dumps

ARITHMETIC = {"error_model": "numpy", "fastmath": {"contract"}}  # a product may be added to before it is rounded
PARTS = zlib.crc32(b"".join(pkgutil.get_data(__package__, name)
                            for name in ("compiler.py", "fusion.py", "gemm.py", "im2col.py", "threads.py")))


_announced = False


class _Sealed(CompileResultCacheImpl):
    """What Numba keeps of a kernel, with its digest: damaged machine code would end the process that runs it."""

    def reduce(self, compiled):
        content = dumps(super().reduce(compiled))
        return hashlib.sha256(content).digest(), content

    def rebuild(self, target_context, kept):
        digest, content = kept
        if hashlib.sha256(content).digest() != digest:
            raise ValueError("its digest is not that of its content")
        return super().rebuild(target_context, pickle.loads(content))


class _Cache(FunctionCache):
    """Numba's, where a damaged file, or no room for a new one, costs a compilation instead of ending the process."""

    _impl_class = _Sealed

    def _index_key(self, signature, codegen):
        """Without the function's code, which `python -OO` robs of docstrings: its file's time and size tell changes."""
        return signature, codegen.magic_tuple()

    def load_overload(self, *what):
        try:
            found = super().load_overload(*what)
            if found is None:
                announce()
            return found
        except Exception as error:  # a torn pickle raises all kinds
            _warn(f"kernels were kept in {self.cache_path}, but cannot be read ({_text(error)}): compiling them again")
        try:
            self.flush()
        except OSError:
            self.disable()

    def save_overload(self, *what):
        try:
            super().save_overload(*what)
        except OSError as error:
            self.disable()
            _warn(f"compiled kernels cannot be kept in {self.cache_path} ({_text(error)}): the next process "
                  f"compiles its own")


def announce(said=False):
    """Say in a terminal or a notebook, once, that kernels are being compiled, unless it is `said`: it takes a while."""
    global _announced
    notebook = type(sys.stdout).__module__.startswith("ipykernel")
    with suppress(ValueError):  # stderr is closed
        if not said and not _announced and (notebook or getattr(sys.stderr, "isatty", bool)()):
            print("compiling, once: up to half a minute...", file=sys.stdout if notebook else sys.stderr, flush=True)
    _announced = True


def _text(error):
    return f"{type(error).__name__}: {error}"


@functools.cache  # once, whatever other modules do to Python's own memory of warnings
def _warn(text):
    try:
        warnings.warn(text, RuntimeWarning)
    except RuntimeWarning:  # whoever makes errors of warnings does not mean this one
        print(text, file=sys.stderr)


def compiled(kept_as=None, **options):
    """Numba's decorator, for compiled functions that are kept for the next process where there is a place for them.

    kept_as: the function by whose file and name, if it is not the one that is compiled.
    """
    def decorate(function):
        known = kept_as or function
        known.__qualname__ += f"_{PARTS:08x}"
        kernel = numba.njit(**ARITHMETIC, **options)(function)
        try:
            kernel._cache = _Cache(known)
        except RuntimeError:  # Numba's "no locator available"
            _warn("no folder to keep compiled kernels in: this process compiles its own, in about 15 seconds "
                  "(set NUMBA_CACHE_DIR to a folder that can be written to)")
        return kernel
    return decorate


class _Unfinished(JITCodeLibrary):
    """A part's code, to be linked into kernels: these are optimized, and made machine code, with it in them."""

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        self._finalized = True


class _Part(CPUDispatcher):
    """Of kernels, and no machine code of its own: in Python it is Python."""

    def __call__(self, *arguments):
        return self.py_func(*arguments)

    def add_overload(self, result):
        """By a name, since it has no address."""
        result.library.__class__ = _Unfinished
        name = f"{self.py_func.__qualname__}{result.signature.args}"
        self.targetctx.insert_user_function(name, result.fndesc, [result.library])
        self.overloads[result.signature.args] = result._replace(entry_point=name)


def jit(function):
    """A decorator, for a part of kernels, compiled into each."""
    if numba.config.DISABLE_JIT:
        return function
    part = numba.njit(**ARITHMETIC, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    part.__class__, part._compiler._customize_flags = _Part, _no_machine_code
    return part


def _no_machine_code(flags):
    flags.no_compile = True
    return flags
