"""Changes to valid files: to some bytes, or to the steps of a pickle; and pickles of random steps.

Choices are drawn from bytes: those of hypothesis, in the tests, or of atheris, in `fuzz.py`.
"""

import pickle
import pickletools
import struct

from tests.hostile import readers


class Choices:
    """Choices drawn from bytes; the first option when the bytes are used up."""

    def __init__(self, data: bytes):
        self._bytes = iter(data)

    def pick(self, num: int) -> int:
        """Return a number below `num`."""
        value = next(self._bytes, 0)
        if num > 256:
            value = 256 * value + next(self._bytes, 0)
        return value % num if num else 0

    def one_of(self, things):
        return things[self.pick(len(things))]


TOKENS = [
    *(
        b"\0",
        b"\xff" * 4,
        b"\xff" * 8,
        b"\x7f" + b"\xff" * 7,
        b"-1",
        b"99999999999",
        b"1e999",
        b"nan",
        b"-inf",
    ),
    *(b"NaN", b"Infinity", b"null", b'""', b"[]", b"{}", b"[[", b"../../x", b"\xc3\x28", b"\xed\xa0\x80"),
    *(
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b'"',
        b"'",
        b",",
        b"\n",
        b"\r",
        b"#",
        b"<",
        b"&a;",
        b"]]>",
        b"<!--",
        b"1" * 400,
    ),
    b'<!DOCTYPE x [<!ENTITY a "aaaa">]>',
    b'<STREAM href="file:///etc/passwd"/>',
    b' arraysize="99999999"',
    b' nrows="99999999"',
    b"!!python/object/apply:os.system [x]",
    b"&a [*a, *a]",
    b"<<: *a",
    b"subtype: float64[999999999]",
    b"PK\x01\x02",
    b"PK\x05\x06",
    b"\x93NUMPY\x01\x00",
    b"'|O'",
    b"'<U0'",
    b"(99999999999,)",
    b"NAXIS2  =          99999999999 ",
    b"TFORM1  = '99999999D'          ",
    b"TFIELDS =                  9999",
    *(
        b"}",
        b"]",
        b")",
        b"(",
        b"R",
        b"\x81",
        b"b",
        b"\x85",
        b"\x86",
        b"\x87",
        b"e",
        b"u",
        b"s",
        b"\x94",
        b"0",
        b"2",
    ),
    *(
        b"h\x01",
        b"\x96" + b"\xff" * 8,
        b"\x8a\xff",
        b"cos\nsystem\n",
        b"cbuiltins\neval\n",
        b"Px\n",
        b"\x82\x01",
    ),
]


def mutated(kind: str, choices: Choices) -> bytes:
    """Return a valid file with some changes."""
    seeds = readers.KINDS[kind][1]
    content = choices.one_of(seeds)
    for _ in range(1 + choices.pick(4)):
        at = choices.pick(len(content) + 1)
        length = 1 + choices.pick(32)
        token, other = choices.one_of(TOKENS), choices.one_of(seeds)
        start = choices.pick(len(other) + 1)
        changes = [
            content[:at] + bytes([choices.pick(256)]) + content[at + 1 :],
            content[:at] + token + content[at:],
            content[:at] + token + content[at + len(token) :],
            content[:at],
            content[:at] + content[at + length :],
            content[: at + length] + content[at:],
            content[:at] + other[start : start + length] + content[at:],
            content[:at] + other[start:],
            content[:at]
            + content[at + length : at + 2 * length]
            + content[at : at + length]
            + content[at + 2 * length :],
        ]
        content = choices.one_of(changes)
    return content


# Names that pickles of tables need, and some others.
_NAMES = [
    "numpy ndarray",
    "numpy dtype",
    "numpy._core.multiarray _reconstruct",
    "numpy._core.multiarray scalar",
    "numpy._core.numeric _frombuffer",
    "joblib.numpy_pickle NumpyArrayWrapper",
    "_codecs encode",
    "builtins slice",
    "builtins bytearray",
    "builtins bytes",
    "builtins complex",
    "pandas DataFrame",
    "pandas Index",
    "pandas RangeIndex",
    "pandas StringDtype",
    "pandas.arrays ArrowStringArray",
    "pandas._libs.internals _unpickle_block",
    "pandas.core.internals.managers BlockManager",
    "pandas.core.indexes.base _new_Index",
    "pyarrow.lib _restore_array",
    "pyarrow.lib type_for_alias",
    "pyarrow.lib py_buffer",
    "builtins range",
    "builtins getattr",
    "posix system",
    "numpy load",
    "pandas read_pickle",
]
_TEXTS = [
    *(
        "f8",
        "i8",
        "O8",
        "U3",
        "S0",
        "V8",
        "f8,O",
        "x",
        "mass",
        "header",
        "stars",
        "time",
        "name",
        "data",
        "start",
    ),
    *("stop", "step", "_mgr", "_dtype", "_pa_array", "latin1", "rot13", "pyarrow", "string", "large_string"),
    *("subclass", "shape", "order", "dtype", "allow_mmap", "C", "F", "<", ">", "|", "is_within_2x_r_tidal"),
]
_NUMBERS = [0, 1, 2, 3, 8, 255, -1, 65535, 2**31 - 1, 2**63 - 1, 10**40]


def respelt(choices: Choices) -> bytes:
    """Return a pickle of tables with some steps left out, repeated, moved, or with another number."""
    steps = list(choices.one_of(_STEPS))
    for _ in range(1 + choices.pick(3)):
        at, other = choices.pick(len(steps)), choices.pick(len(steps))
        number = _body(pickle.dumps(choices.one_of(_NUMBERS), 4))
        changes = [
            steps[:at] + steps[at + 1 :],
            [*steps[:at], steps[at], *steps[at:]],
            [*steps[:at], steps[other], *steps[at + 1 :]],
            [*steps[:at], steps[other], *steps[at:]],
            [*steps[:at], number, *steps[at + (steps[at][:1] in b"KMJ\x8a") :]],
            [*steps[:at], program(choices)[2:-1], *steps[at + 1 :]],
        ]
        steps = choices.one_of(changes)
    return b"".join(steps)


def _steps(pickled: bytes) -> list[bytes]:
    """Return the opcodes of a pickle, each with its argument, without frames."""
    starts = [(code.name, at) for code, _, at in pickletools.genops(pickled)]
    ends = [at for _, at in starts[1:]] + [len(pickled)]
    return [pickled[at:end] for (name, at), end in zip(starts, ends, strict=True) if name != "FRAME"]


_STEPS = [_steps(pickle.dumps(readers.cache_content(), protocol)) for protocol in (2, 3, 4, 5)]


def program(choices: Choices) -> bytes:
    """Return a syntactically valid pickle of random calls, instances and states."""
    memo = []

    def expression(depth: int) -> bytes:
        kind = choices.pick(14 if depth else 6)
        if kind < 4:
            constants = [
                lambda: pickle.dumps(choices.one_of(_NUMBERS), 4),
                lambda: pickle.dumps(choices.one_of(_TEXTS), 3),
                lambda: pickle.dumps(choices.one_of([b"", b"b", bytes(8), bytes(24), b"\xff" * 16]), 3),
                lambda: pickle.dumps(choices.one_of([None, True, False, 1.5, float("nan"), float("inf")]), 3),
            ]
            return _body(constants[kind]())
        if kind == 4:
            return b"c" + choices.one_of(_NAMES).replace(" ", "\n").encode() + b"\n"
        if kind == 5:
            return b"j" + struct.pack("<I", choices.one_of(memo)) if memo else b"N"
        parts = [expression(depth - 1) for _ in range(choices.pick(6))]
        whole = b"".join(parts)
        if kind == 6:
            made = b"(" + whole + b"t"
        elif kind == 7:
            made = b"](" + whole + b"e"
        elif kind == 8:
            made = b"}(" + whole + (b"N" if len(parts) % 2 else b"") + b"u"
        elif kind in (9, 10, 11):
            name = choices.one_of(_NAMES[:22]).replace(" ", "\n").encode()
            made = b"c" + name + b"\n(" + whole + b"tR"
        elif kind == 12:
            made = b"c" + choices.one_of(_NAMES).replace(" ", "\n").encode() + b"\n)\x81"
        else:
            made = expression(depth - 1) + b"(" + whole + b"tb"
        if kind == 12 or choices.pick(2):
            memo.append(len(memo))
            made += b"r" + struct.pack("<I", memo[-1])
        return made + (b"}(" + whole + (b"N" if len(parts) % 2 else b"") + b"ub" if kind == 12 else b"")

    return b"\x80\x04" + expression(5) + b"."


def _body(pickled: bytes) -> bytes:
    """Return a pickle without protocol, stop, frames and memos."""
    start = 2 if pickled[2:3] != b"\x95" else 11
    content = pickled[start:-1]
    return content[:-2] if content[-2:-1] == b"q" else content.removesuffix(b"\x94")
