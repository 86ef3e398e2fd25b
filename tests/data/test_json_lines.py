"""Files with one JSON object a line: read as a delimited file with the same cells would be."""

import json

import pytest
from test_table import complains, read, write

from minibert.data.delimited import Format
from minibert.data.json_lines import read_json_lines


def lines(objects):
    return "".join(f"{json.dumps(o)}\n" for o in objects)


def test_the_same_task_as_of_a_csv_file(tmp_path):
    texts = [f'text {i}, with "quotes" and\nlines' for i in range(40)]
    labels = ["no", "yes"] * 20
    cells = "".join('"{}",{}\n'.format(t.replace('"', '""'), label) for t, label in zip(texts, labels, strict=True))
    one = read(write(tmp_path / "a.csv", "text,label\n" + cells))
    objects = [{"text": t, "label": label, "more": {"x": [1]}} for t, label in zip(texts, labels, strict=True)]
    other = read(write(tmp_path / "b.ndjson", lines(objects)))
    assert one.labels == other.labels and one.train.texts == other.train.texts
    assert (one.train.labels == other.train.labels).all() and one.dev["dev"].texts == other.dev["dev"].texts


@pytest.mark.parametrize(
    ("written", "cell"),
    [
        ("true", "true"),
        ("1", "1"),
        ("1.50", "1.50"),
        ("12345678901234567890", "12345678901234567890"),
        ("null", ""),
        ("NaN", ""),
        ('"\\ud83d\\ude00"', "\U0001f600"),
        ('""', ""),
    ],
)
def test_values_are_cells_as_they_are_written(tmp_path, written, cell):
    table = read_json_lines(write(tmp_path / "a.jsonl", f'\n{{"x": {written}}}\n{{}}\n'), Format())
    assert table.column("x") == [cell, ""] and table.lines == [2, 3]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ('{"text": "a"}\n[1]\n', ["a.jsonl, line 2: expected an object, got [", "one object a line"]),
        ('{"text": "a"}\n{"text": \n', ["a.jsonl, line 2: not valid JSON", "one object a line"]),
        ('{"text": "a", "text": "b"}\n', ["a.jsonl, line 1: 'text' is there twice"]),
        ('{"text": "a", "label": ["b"]}\n', ["a.jsonl, line 1, 'label': expected a text", "got a list (['b'])"]),
        (
            '{"text": {}, "label": "b"}\n{"text": "a", "label": "c"}\n',
            ["line 1, 'text': expected a text", "got an object"],
        ),
        ('{"text": Infinity}\n', ["a.jsonl, line 1: Infinity is no number"]),
        ('{"words": "a", "label": "b"}\n', ["there is no column 'text'; the columns are 'words', 'label'", "keys"]),
        ("{}\n", ["the objects have no keys"]),
        ("\n \n", ["is empty"]),
        ('{"text": "a", "label": null}\n{"text": "a", "label": "b"}\n', ["line 1: the label", "is empty"]),
        ("[" * 10**5 + "\n", ["a.jsonl, line 1:", "too deep"]),
    ],
)
def test_what_cannot_be_used(tmp_path, content, parts):
    with complains(*parts):
        read(write(tmp_path / "a.jsonl", content))


def test_options_of_delimited_files_are_refused_and_folders_read(tmp_path):
    objects = [{"text": f"t {i}", "label": i % 2} for i in range(20)]
    for split in ("train", "dev"):
        write(tmp_path / f"{split}.jsonl", lines(objects))
    assert read(tmp_path).labels == ("0", "1")
    with complains("train.jsonl: --delimiter cannot be used with JSON Lines"):
        read(tmp_path, delimiter=";")
    write(tmp_path / "train.csv", "text,label\n")
    with complains("holds both train.csv and train.jsonl"):
        read(tmp_path)


def test_several_labels_are_a_list_or_a_cell(tmp_path):
    objects = [{"text": f"t {i}", "label": [["a"], "a|b", ["b", "a"], []][i % 4]} for i in range(40)]
    task = read(write(tmp_path / "a.jsonl", lines(objects)), label_separator="|")
    sets = dict(zip(task.train.texts, task.train.labels.tolist(), strict=True))
    wanted = {0: [1, 0], 1: [1, 1], 2: [1, 1], 3: [0, 0]}
    assert task.labels == ("a", "b") and all(sets[text] == wanted[int(text[2:]) % 4] for text in sets)
    with complains("line 1, 'label': a label of ['a|b'] holds '|'"):
        read(write(tmp_path / "a.jsonl", lines([{"text": "t", "label": ["a|b"]}])), label_separator="|")
    with complains("line 1, 'label': expected a text", "got a list"):
        read(write(tmp_path / "a.jsonl", lines([{"text": "t", "label": [["a"]]}])), label_separator="|")
