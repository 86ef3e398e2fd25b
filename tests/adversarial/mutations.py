"""Changes of bytes, texts and JSON values that know nothing of a format. Each takes a random.Random and is a function
of its state alone."""

from __future__ import annotations

import json
from random import Random

NUMBERS = (0, 1, -1, 2, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**64 - 1)
ODD_TEXTS = (
    "", " ", "\t", "\n", "\r", "\r\n", "\0", '"', '""', "'", ",", ";", "|", "\\", "/", "..", "\ufeff", "\u2028", "\x85",
    "\x0b", "\x0c", "\x1b[31m", "\u200b", "\u00a0", "é", "e\u0301", "漢", "🙂", "\u202e", "nan", "null", "-", "0", "1",
    "1.0", "true", "=1+1", "\ufffd",
)  # fmt: skip
ODD_BYTES = (
    b"\0", b"\xff", b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b"\x85", b"\xe2\x80\xa8",
    b"\xed\xa0\x80", b"\xed\xb0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xe9", b"\x80", b'"', b"\t", b",", b"\x1a",
    b"\x1b[2J", b"\\", b"\xf0\x9f\x99\x82", b"\xcc\x81", b"\xc2\xa0",
)  # fmt: skip


def damage(rng: Random, data: bytes, other: bytes = b"") -> tuple[bytes, str]:
    """Damaged bytes, and how they were damaged. other: a file of the same format to splice from."""
    change = rng.choice(_DAMAGES)
    what = change.__name__.strip("_").replace("_", " ")
    place = rng.randrange(len(data)) if data else 0
    return bytes(change(rng, bytearray(data), place, other or data)), f"bytes: {what} at {place}"


def _flip_bits(rng, data, place, other):
    for i in [place, *(rng.randrange(len(data)) for _ in range(rng.choice((0, 0, 0, 1, 7))))]:
        data[i] ^= 1 << rng.randrange(8)
    return data


def _random_burst(rng, data, place, other):
    size = rng.choice((1, 2, 4, 16, 200))
    data[place : place + size] = rng.randbytes(min(size, len(data) - place))
    return data


def _constant_burst(rng, data, place, other):
    size = min(rng.choice((1, 4, 8, 64, 512, 4096)), len(data) - place)
    data[place : place + size] = bytes([rng.choice((0, 0, 255, 32, 10))]) * size
    return data


def _number(rng, data, place, other):
    size = rng.choice((1, 2, 4, 8))
    value = rng.choice(NUMBERS) % 256**size
    data[place : place + size] = value.to_bytes(size, rng.choice(("little", "little", "big")))
    return data


def _truncation(rng, data, place, other):
    return data[: rng.choice((place, max(0, len(data) - rng.randint(1, 9))))]


def _deletion(rng, data, place, other):
    del data[place : place + rng.choice((1, 2, 8, 100, 1000))]
    return data


def _duplication(rng, data, place, other):
    part = data[place : place + rng.choice((1, 2, 8, 100, 4096, len(data)))]
    to = rng.choice((place, len(data), rng.randrange(len(data) + 1)))
    return data[:to] + part + data[to:]


def _insertion(rng, data, place, other):
    return data[:place] + rng.choice((rng.choice(ODD_BYTES), rng.randbytes(rng.choice((1, 8, 512))))) + data[place:]


def _splice(rng, data, place, other):
    size, start = rng.choice((8, 64, 512, len(data))), rng.randrange(len(other))
    part = other[start : start + size]
    if rng.random() < 0.5:
        part = other[place : place + size]
    return data[:place] + part + data[place + rng.choice((0, len(part))) :]


def _exchange(rng, data, place, other):
    size, second = rng.choice((4, 32, 256)), rng.randrange(len(data))
    size = min(size, abs(second - place), len(data) - max(second, place))
    a, b = sorted((place, second))
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]
    return data


_DAMAGES = (
    _flip_bits, _flip_bits, _random_burst, _constant_burst, _number, _number, _truncation, _deletion, _duplication,
    _insertion, _splice, _exchange,
)  # fmt: skip


# -------------------------------------------------------------------------------------------------------------- texts


def odd_text(rng: Random) -> str:
    """A text such as broken programs write."""
    if rng.random() < 0.01:
        return rng.choice(ODD_TEXTS[1:]) * rng.choice((1000, 150_000))
    return "".join(
        rng.choice((rng.choice(ODD_TEXTS), rng.choice(("a", "word", "x y")))) for _ in range(rng.randint(0, 4))
    )


def change_table(rng: Random, rows: list[list[str]], change: str, i: int, j: int) -> None:
    """Change a table of cells, header first, in place: at row i and column j, or in its header."""
    if change == "cell":
        rows[i][j] = odd_text(rng)
    elif change == "gone":
        del rows[i][j]
    elif change == "more":
        rows[i].insert(j, rng.choice(("", "more")))
    elif change == "header twice":
        rows.insert(rng.randrange(len(rows) + 1), rows[0])
    elif change == "header odd":
        rows[0][j] = rng.choice((rows[0][j].upper(), rows[0][j] + " ", rows[0][-1], rows[0][0], "", odd_text(rng)))
    else:
        raise ValueError(change)


def mutate_text_bytes(rng: Random, data: bytes, other: bytes) -> tuple[bytes, str]:
    """Damaged bytes of a text file: what editors, spreadsheets and broken downloads do to them."""
    change = rng.choice(_TEXT_CHANGES)
    if change is None:
        return damage(rng, data, other)
    return change(rng, data), f"text: {change.__name__.strip('_').replace('_', ' ')}"


def _odd_bytes_somewhere(rng, data):
    for _ in range(rng.choice((1, 1, 1, 3, 20))):
        place = rng.randrange(len(data) + 1)
        data = data[:place] + rng.choice(ODD_BYTES) + data[place + rng.choice((0, 0, 1)) :]
    return data


def _odd_bytes_at_a_line_end(rng, data):
    lines = data.split(b"\n")
    i = rng.randrange(len(lines))
    lines[i] = rng.choice((lines[i] + rng.choice(ODD_BYTES), rng.choice(ODD_BYTES) + lines[i]))
    return b"\n".join(lines)


def _byte_order_mark(rng, data):
    return rng.choice((b"\xef\xbb\xbf", b"\xef\xbb\xbf", b"\xef\xbb\xbf\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")) + data


def _other_encoding(rng, data):
    text = data.decode("utf-8", "replace")
    encoding = rng.choice(("utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "gb18030", "utf-7"))
    return text.encode(encoding, "replace")


def _one_line_in_another_encoding(rng, data):
    lines = data.split(b"\n")
    i = rng.randrange(len(lines))
    lines[i] = lines[i].decode("utf-8", "replace").encode(rng.choice(("latin-1", "utf-16-le")), "replace")
    return b"\n".join(lines)


def _line_ends(rng, data):
    plain = data.replace(b"\r\n", b"\n")
    end = rng.choice((b"\r\n", b"\r\n", b"\r", b"\r\r\n", b"\n\n", b"\n\r", b"\xe2\x80\xa8", b" \n"))
    if rng.random() < 0.5:
        return plain.replace(b"\n", end)
    pieces = plain.split(b"\n")
    return b"".join(piece + rng.choice((b"\n", b"\n", end)) for piece in pieces)


def _lines_moved(rng, data):
    lines = data.split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    change = rng.randrange(5)
    if change == 0:
        del lines[i]
    elif change == 1:
        lines.insert(j, lines[i])
    elif change == 2:
        lines[i], lines[j] = lines[j], lines[i]
    elif change == 3:
        lines[i : i + 2] = [b"".join(lines[i : i + 2])]
    else:
        cut = rng.randrange(len(lines[i]) + 1)
        lines[i : i + 1] = [lines[i][:cut], lines[i][cut:]]
    return b"\n".join(lines)


def _the_last_line_end_is_gone(rng, data):
    return data.rstrip(b"\r\n")


def _nothing_or_little(rng, data):
    return rng.choice(
        (b"", b"\n", b" ", b"\xef\xbb\xbf", b"\0", b"\x1a", data.split(b"\n")[0], data.split(b"\n")[0] + b"\n")
    )


_TEXT_CHANGES = (
    _odd_bytes_somewhere, _odd_bytes_somewhere, _odd_bytes_somewhere, _odd_bytes_at_a_line_end, _byte_order_mark,
    _other_encoding, _one_line_in_another_encoding, _line_ends, _line_ends, _lines_moved, _lines_moved,
    _the_last_line_end_is_gone, _nothing_or_little, None, None, None,
)  # fmt: skip


# --------------------------------------------------------------------------------------------------------------- JSON


class Raw(str):
    """A piece of JSON text that `dump` writes as it is: what the json module would never write."""


class Pairs(list):
    """An object as [(key, value), ...]: keys may be doubled."""


def dump(value) -> str:
    """JSON text of a value that may hold Raw and Pairs."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Pairs):
        return (
            "{" + ", ".join(f"{key if isinstance(key, Raw) else json.dumps(key)}: {dump(v)}" for key, v in value) + "}"
        )
    if isinstance(value, dict):
        return dump(Pairs(value.items()))
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(dump, value)) + "]"
    return json.dumps(value)


def mutate_json(rng: Random, value) -> tuple[str, str]:
    """The text of a JSON value with something changed inside it, and what was changed."""
    places = list(_places(value))
    where = rng.choice(places)
    for _ in range(3):  # rather deep inside than at the top
        where = max(where, rng.choice(places), key=len) if rng.random() < 0.5 else where
    change = rng.choice(_JSON_CHANGES)
    what = change.__name__.strip("_").replace("_", " ")
    return dump(_put(value, where, change(rng, _get(value, where)))), f"JSON: {what} at {where}"


def _places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield from _places(part, (*path, key))


def _get(value, path):
    for key in path:
        value = value[key]
    return value


def _put(value, path, new):
    """A copy with another value at path. new is None: without it; Pairs of a dict: doubled keys."""
    if not path:
        return Raw("") if new is _GONE or isinstance(new, (_Twice, _Renamed)) else new
    key, rest = path[0], path[1:]
    if isinstance(value, dict):
        parts = Pairs((k, _put(v, rest, new) if k == key else v) for k, v in value.items())
        if new is _GONE and not rest:
            return Pairs((k, v) for k, v in value.items() if k != key)
        if isinstance(new, _Twice) and not rest:
            return Pairs([*((k, new.first if k == key else v) for k, v in value.items()), (key, new.second)])
        if isinstance(new, _Renamed) and not rest:
            return Pairs((new.name if k == key else k, v) for k, v in value.items())
        return parts
    if not rest and (new is _GONE or isinstance(new, (_Twice, _Renamed))):
        again = [new.first, new.second] if isinstance(new, _Twice) else []
        return [*value[:key], *again, *value[key + 1 :]]
    return [*value[:key], _put(value[key], rest, new), *value[key + 1 :]]


_GONE = object()


class _Twice:
    def __init__(self, first, second):
        self.first, self.second = first, second


class _Renamed:
    def __init__(self, name):
        self.name = name


def _gone(rng, old):
    return _GONE


def _twice(rng, old):
    return _Twice(*rng.choice(((old, _other(rng, old)), (_other(rng, old), old), (old, old))))


def _renamed(rng, old):
    return _Renamed(rng.choice((odd_text(rng), Raw('"\\ud800"'), "id", "text", "__class__", "x" * 5000)))


def _other_type(rng, old):
    return _other(rng, old)


def _other(rng, old):
    choices = [None, True, False, 0, 1, -1, 1.5, "", "text", "1", [], {}, [old], {"a": old}, str(old), [None], -0.0]
    return rng.choice(choices)


def _other_number(rng, old):
    huge = Raw("9" * rng.choice((20, 400, 5000)))
    odd = (Raw("NaN"), Raw("Infinity"), Raw("-Infinity"), Raw("1e999"), Raw("-0"), Raw("1E2"), Raw("1e-400"), huge)
    base = old if isinstance(old, (int, float)) and not isinstance(old, bool) else 7
    near = (base + 1, base - 1, -base, base * 2, float(base), base + 0.5, base * 1000)
    return rng.choice((rng.choice(odd), rng.choice(NUMBERS), rng.choice(near), -rng.choice(NUMBERS), rng.choice(near)))


def _other_text(rng, old):
    old = old if isinstance(old, str) else "text"
    place = rng.randrange(len(old) + 1)
    return rng.choice(
        (odd_text(rng), old + odd_text(rng), old[:place] + odd_text(rng) + old[place:], old.upper(), old[::-1])
    )


def _bad_escape(rng, old):
    return Raw(
        rng.choice(('"\\ud800"', '"\\udc00x"', '"a\\ud83d"', '"\\x41"', '"\\u12"', '"a\nb"', '"\\u0000"', '"\\', "'a'"))
    )


def _deep(rng, old):
    depth = rng.choice((50, 500, 990, 3000, 100_000))
    return Raw(rng.choice(("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "[" * depth)))


def _not_json(rng, old):
    return Raw(
        rng.choice(
            ("", "nil", "undefined", "[1,]", '{"a":1,}', "// c\n1", "{a: 1}", "01", "1.", ".5", "+1", "tru", "1 2")
        )
    )


def _elements_moved(rng, old):
    if isinstance(old, dict):
        items = list(old.items())
        rng.shuffle(items)
        return Pairs(items)
    if isinstance(old, list):
        return rng.choice((old + old, old[::-1], old[1:], [], old * 20, [*old, None]))
    return [old, old]


_JSON_CHANGES = (
    _gone, _gone, _twice, _twice, _renamed, _other_type, _other_type, _other_number, _other_number, _other_number,
    _other_text, _other_text, _bad_escape, _deep, _not_json, _elements_moved, _elements_moved,
)  # fmt: skip


class Doubled(ValueError):
    """An object has a key twice, with different values."""


def strict_json(text: str, once=None):
    """The value of a JSON text, by the json module. Raises Doubled if a key (of those in `once`, if given) is there
    twice with different values."""

    def unique(pairs):
        found = {}
        for key, value in pairs:
            counts = once is None or key in once
            if counts and key in found and json.dumps(found[key]) != json.dumps(value):
                raise Doubled("a key is there twice, with different values")
            found[key] = value
        return found

    return json.loads(text, object_pairs_hook=unique)
