"""Link first, then optimize: LLVM optimizes a kernel together with all functions it calls, and only once.

Numba treats each compiled function as if Python might call it. The function is optimized and translated to machine
code; then its LLVM code is copied into each caller, where both are done again. A kernel here has five levels of
functions, so LLVM processed the innermost loops ten times, which took 30 of 45 s for all kernels. But only the
outermost function is ever called from Python. While one of our kernels is being compiled, code libraries are therefore
of the class below: the code of an inner function stays LLVM code, the kernel links all of them, and LLVM optimizes the
whole once. It also follows that a kernel has the same machine code in the process that compiles it and in those that
load it from the cache.

This relies on internal names of Numba's code generation. If one of them is missing, nothing is changed: kernels are
compiled as in any other program, in three times the time. So it is with Numba 0.60, too: there, linked first, the last
bit of an element would depend on where it lies (tests/kernels/test_matmul.py).
"""

from __future__ import annotations

from numba import version_info
from numba.core import codegen
from numba.core.environment import lookup_environment
from numba.core.registry import cpu_target

FIRST_NUMBA = (0, 61)
INTERNAL_NAMES = (
    *("_codegen", "_ensure_finalized", "_final_module", "_finalize_final_module", "_finalized", "_linking_libraries"),
    *("_get_module_for_linking", "_optimize_final_module", "_optimize_functions", "_raise_if_finalized"),
    *("_reload_init", "_shared_module", "finalize", "get_defined_functions", "get_pointer_to_function"),
    "serialize_using_object_code",
)
BODY_OF_PRANGE = "__numba_parfor_gufunc"  # Numba's name for the function it makes of a loop


class LateLibrary(getattr(codegen, "JITCodeLibrary", object)):
    """The code of a function, translated to machine code only when its address is requested, or when it is cached."""

    _is_machine_code, _with_parts = False, None

    def _optimize_functions(self, ll_module):
        """Nothing: the whole is optimized when all parts are linked."""
        ll_module.data_layout = self._codegen._data_layout

    def finalize(self):
        """No more code will be added; the functions it calls are linked when machine code is generated."""
        self._raise_if_finalized()
        for library in self._linking_libraries:
            self._reload_init.update(library._reload_init)
        self._finalized = True

    def _parts(self, found: dict) -> dict:
        """All libraries that the function calls, directly or indirectly, in the order in which they are found."""
        for library in self._linking_libraries:
            if library not in found:
                found[library] = None
                if isinstance(library, LateLibrary) and not library._is_machine_code:
                    library._parts(found)
        return found

    def _link_parts(self, module):
        """Add the code of all parts to a module with this function's own code."""
        for library in self._parts({}):
            is_own_code = isinstance(library, LateLibrary) and not library._is_machine_code
            code = library._own_code() if is_own_code else library._get_module_for_linking()
            module.link_in(code, preserve=True)

    def _own_code(self):
        return super()._get_module_for_linking()

    def _get_module_for_linking(self):
        """Used by libraries of the usual class: Numba may first compile a helper here, and use it elsewhere later."""
        if not self._is_machine_code and self._with_parts is None:
            self._with_parts = self._own_code().clone()
            self._link_parts(self._with_parts)
        return super()._get_module_for_linking() if self._is_machine_code else self._with_parts

    def _make_machine_code(self):
        self._ensure_finalized()
        if self._is_machine_code:
            return
        self._link_parts(self._final_module)
        self._optimize_final_module()
        self._final_module.verify()
        self._finalize_final_module()
        self._is_machine_code = True
        self._shared_module = self._with_parts = None
        for variable in self._final_module.global_variables:  # pointers to the globals of the Python code
            environment = lookup_environment(variable.name)
            if environment is not None:
                self._codegen.set_env(variable.name, environment)

    def get_pointer_to_function(self, name):
        """The address of a function; 0 if there is none of this name, or if it is only part of a kernel."""
        self._ensure_finalized()
        if not self._is_machine_code:
            is_defined = any(function.name == name for function in self.get_defined_functions())
            if not is_defined or BODY_OF_PRANGE in self.name:
                return 0
            self._make_machine_code()
        return super().get_pointer_to_function(name)

    def serialize_using_object_code(self):
        """What the cache stores."""
        self._make_machine_code()
        return super().serialize_using_object_code()


class LateLinking:
    """Between `start` and `stop`, which may be nested, Numba creates libraries of the class above."""

    def __init__(self):
        self._depth = 0

    def start(self):
        """The outermost `start` switches it on."""
        self._depth += 1
        target = cpu_target.target_context.codegen()
        if self._depth == 1 and _is_possible(target):
            set_env = target.set_env

            def set_env_of_machine_code(name, environment):
                if target._engine.is_symbol_defined(name):
                    set_env(name, environment)

            target._library_class, target.set_env = LateLibrary, set_env_of_machine_code

    def stop(self):
        """The outermost `stop` switches it off."""
        self._depth -= 1
        if self._depth == 0:
            for name in ("_library_class", "set_env"):
                vars(cpu_target.target_context.codegen()).pop(name, None)


def _is_possible(target) -> bool:
    if version_info.short < FIRST_NUMBA:
        return False
    if getattr(type(target), "_library_class", None) is not getattr(codegen, "JITCodeLibrary", object):
        return False
    library = target.create_library("probe")
    return all(hasattr(library, name) for name in INTERNAL_NAMES) and hasattr(target._engine, "is_symbol_defined")
