"""The stack machine for a pickle of tensors, in which nothing is ever called: torch_file.py tells why.

It makes strings, numbers, tuples, dicts and descriptions of tensors. A module's or a function's name stays a name.
"""

from __future__ import annotations

import io
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from minibert.errors import InputError, need, one_line, readable, shown
from weights_convert.tensor_types import MOST_ELEMENTS, is_shape

MOST_OPERATIONS = 150_000  # some 40 a tensor; each may make an object of 64 bytes, whatever the size of the file
STORAGES = {  # {class of a storage: dtype as safetensors spells it}
    "torch FloatStorage": "F32",
    "torch HalfStorage": "F16",
    "torch BFloat16Storage": "BF16",
    "torch DoubleStorage": "F64",
    "torch LongStorage": "I64",
    "torch IntStorage": "I32",
    "torch ShortStorage": "I16",
    "torch CharStorage": "I8",
    "torch ByteStorage": "U8",
    "torch BoolStorage": "BOOL",
}
ORDERED_DICT = "collections OrderedDict"
TENSOR, PARAMETER = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"
KNOWN = {ORDERED_DICT, TENSOR, PARAMETER, *STORAGES}


@dataclass(frozen=True)
class Global:
    """What a pickle names as module and name. It is only a name here: nothing is imported."""

    name: str


@dataclass(frozen=True)
class Storage:
    """One block of numbers in the file. key: its name there; count: its elements."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage. offset and stride count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def reach(self) -> int:
        """From its first element in the storage to the end of its last: what must be read."""
        steps = zip(self.shape, self.stride, strict=True)
        return 1 + sum((n - 1) * step for n, step in steps) if all(self.shape) else 0


_MARK = object()


class Pickle:
    """One pickle, followed operation by operation. `value` is what it builds."""

    def __init__(self, data: io.BytesIO):
        self.stack: list = []
        self.memo: dict[int, object] = {}
        self.storages: dict[str, Storage] = {}
        try:
            self._follow(data)
        except (ValueError, IndexError, KeyError, struct.error) as error:  # of pickletools, or of a stack that is empty
            if isinstance(error, InputError):
                raise
            raise InputError(f"its pickle is damaged ({one_line(error)})") from None
        need(len(self.stack) == 1, "its pickle is damaged (it does not end in one value)")
        self.value = self.pop()

    def _follow(self, data: io.BytesIO) -> None:
        """Operation by operation to STOP. An argument is looked at only if its operation is one of ours."""
        for _ in range(MOST_OPERATIONS):
            operation = pickletools.code2op.get(data.read(1).decode("latin-1"))
            need(operation is not None, "its pickle is damaged (an operation is missing)")
            follow = _OPERATIONS.get(operation.name)
            need(follow is not None, f"its pickle has the operation {operation.name}, which no dict of tensors needs")
            follow(self, operation.arg.reader(data) if operation.arg else None)
            if operation.name == "STOP":
                return
        raise InputError(f"its pickle has more than {MOST_OPERATIONS:,} operations")

    def push(self, value) -> None:
        self.stack.append(value)

    def pop(self):
        value = self.stack.pop()
        need(value is not _MARK, "its pickle is damaged (a value is missing)")
        return value

    def pop_mark(self) -> list:
        """The values above the topmost mark."""
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def pop_tuple(self, n: int) -> None:
        """Make a tuple of the n topmost values."""
        values = [self.pop() for _ in range(n)]
        self.push(tuple(values[::-1]))

    def protocol(self, version: int) -> None:
        need(version == 2, f"its pickle has protocol {version}, expected 2, which torch.save writes")

    def name_global(self, name: str) -> None:
        need(name in KNOWN, f"its pickle asks for {_dotted(name)}: only tensors are read, and nothing is ever called")
        self.push(Global(name))

    def set_items(self, values: list) -> None:
        """Put keys and values, which alternate, into the dict on top."""
        target = self.stack[-1]
        need(isinstance(target, dict) and len(values) % 2 == 0, "its pickle is damaged (items without a dict)")
        for key, value in zip(values[::2], values[1::2], strict=True):
            need(isinstance(key, str), "its pickle has a dict with a key that is no text")
            need(key not in target, f"its pickle sets {shown(key)} twice")
            target[key] = value

    def append(self, values: list) -> None:
        need(isinstance(self.stack[-1], list), "its pickle is damaged (elements without a list)")
        self.stack[-1].extend(values)

    def build(self, _) -> None:
        """The attributes of an OrderedDict: a state dict has the versions of its modules there, which nobody needs."""
        state = self.pop()
        need(
            isinstance(state, dict) and isinstance(self.stack[-1], dict),
            "its pickle sets attributes of something that is no dict",
        )

    def persistent(self, _) -> None:
        """A storage: ("storage", class, key, device, elements), in the legacy layout None after it."""
        value = self.pop()
        need(isinstance(value, tuple) and len(value) in (5, 6), "its pickle has a storage that is not described as one")
        kind, of, key, device, count, *view = value
        fits = kind == "storage" and isinstance(of, Global) and of.name in STORAGES
        fits = fits and isinstance(key, str) and isinstance(device, str) and _is_count(count) and view in ([], [None])
        need(fits, "its pickle has a storage that is not described as one")
        storage = Storage(key, STORAGES[of.name], count)
        need(self.storages.setdefault(key, storage) == storage, f"its storage {shown(key)} is described in two ways")
        self.push(storage)

    def reduce(self, _) -> None:
        """What would be a call: of the three that a dict of tensors has, the result is described."""
        arguments, of = self.pop(), self.pop()
        called = of.name if isinstance(of, Global) else ""
        need(called in (ORDERED_DICT, TENSOR, PARAMETER), "its pickle calls something that makes no tensor")
        need(isinstance(arguments, tuple), "its pickle is damaged (arguments that are no tuple)")
        if called == ORDERED_DICT:
            need(arguments == (), "its pickle has an OrderedDict that is made of something")
            self.push({})
        elif called == PARAMETER:
            fits = len(arguments) == 3 and isinstance(arguments[0], Tensor)
            need(fits, "its pickle has a parameter without a tensor")
            self.push(arguments[0])
        else:
            self.push(_tensor_of(arguments))


def _dotted(name: str) -> str:
    return readable(name.replace(" ", "."))


def _is_count(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_ELEMENTS


def _tensor_of(arguments: tuple) -> Tensor:
    """The tensor of (storage, offset, shape, stride, requires_grad, hooks), inside its storage."""
    need(len(arguments) in (6, 7) and isinstance(arguments[0], Storage), "its pickle has a tensor without a storage")
    storage, offset, shape, stride = arguments[:4]
    numbers = isinstance(shape, tuple) and isinstance(stride, tuple) and len(shape) == len(stride)
    numbers = numbers and all(map(_is_count, (offset, *shape, *stride))) and is_shape(shape)
    need(numbers, "its pickle has a tensor whose shape or stride cannot be one")
    tensor = Tensor(storage, offset, shape, stride)
    need(
        offset + tensor.reach <= storage.count and prod(shape) <= storage.count,
        f"a tensor of shape {shape}, stride {stride} and offset {offset} does not fit into its storage of "
        f"{storage.count:,} elements",
    )
    return tensor


_OPERATIONS: dict[str, Callable[[Pickle, object], None]] = {
    "PROTO": Pickle.protocol,
    "STOP": lambda machine, _: None,
    "MARK": lambda machine, _: machine.push(_MARK),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_mark())),
    "TUPLE1": lambda machine, _: machine.pop_tuple(1),
    "TUPLE2": lambda machine, _: machine.pop_tuple(2),
    "TUPLE3": lambda machine, _: machine.pop_tuple(3),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_mark()),
    "BINPUT": lambda machine, index: machine.memo.__setitem__(index, machine.stack[-1]),
    "LONG_BINPUT": lambda machine, index: machine.memo.__setitem__(index, machine.stack[-1]),
    "BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "GLOBAL": Pickle.name_global,
    "REDUCE": Pickle.reduce,
    "BUILD": Pickle.build,
    "BINPERSID": Pickle.persistent,
    **dict.fromkeys(("BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1"), Pickle.push),
}
