"""Settings check themselves, and keep plain numbers, whoever gives them."""

import json

import numpy as np
import pytest

from minibert.config import AdapterConfig, BertConfig, TrainConfig
from minibert.errors import InputError, one_line, readable, shown
from minibert.json_values import check_fields, parse_json
from minibert.train import Progress


def test_numpys_numbers_are_numbers_and_kept_as_pythons_own():
    """As np.arange and the columns of a table give them; JSON takes none of them."""
    adapter = AdapterConfig(size=np.int64(8), init_std=np.float32(0.5), depth=np.int8(2), layers=(np.int32(1),))
    assert adapter == AdapterConfig(8, 0.5, depth=2, layers=(1,))
    train = TrainConfig(lr=np.float64(1e-3), epochs=np.int16(3), seed=np.uint8(7), clip_norm=1)
    bert = BertConfig(np.int64(30), np.int64(6), 1, 2, 8, hidden_dropout=np.float32(0.25))
    for config in (adapter, train, bert):
        numbers = [v for v in vars(config).values() if isinstance(v, (int, float, np.generic))]
        assert {type(number) for number in numbers} <= {int, float, bool}
        assert type(config).from_json(config.to_json()) == config
    assert type(adapter.layers[0]) is int and type(train.clip_norm) is float


@pytest.mark.parametrize("size", [True, np.True_, 8.0, np.float64(8), "8", None, 0, np.int64(0)], ids=repr)
def test_what_is_no_whole_number_is_refused(size):
    with pytest.raises(InputError, match="adapter size must be a whole number from 1 to 65536, got"):
        AdapterConfig(size)


@pytest.mark.parametrize("lr", [True, "1", None, np.nan, np.float32("inf"), 0, np.array([1.0])], ids=repr)
def test_what_is_no_number_is_refused(lr):
    with pytest.raises(InputError, match=r"learning rate \(lr\) must be a number above 0 to 10, got"):
        TrainConfig(lr)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"sizes": 8}, "AdapterConfig has no setting named sizes"),
        ({"sublayers": ["attention", []]}, "adapter sublayers must be among"),
        ([8], "AdapterConfig must be a JSON object"),
    ],
)
def test_settings_that_do_not_fit_are_named(values, message):
    with pytest.raises(InputError, match=message):
        AdapterConfig.from_json(json.dumps(values))


def test_a_setting_that_is_missing_is_named():
    with pytest.raises(InputError, match="BertConfig is incomplete: n_layers, feed_forward_size must be given"):
        BertConfig.from_dict({"vocab_size": 30, "hidden_size": 6, "n_heads": 2})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "x: its lists or objects lie too deep"),
        ('{"a":' * 100_000, "x: its lists or objects lie too deep"),
        ('{"a": [{"b": 1, "c": 2, "b": 1}]}', "x: 'b' is there twice in one object"),
        ("[1,\n2,\n,", "x, line 3: not valid JSON: Expecting value"),
        (b'"\xff"', "x: not valid JSON: 'utf-8' codec"),
        ("1" * 5000, "x: not valid JSON: Exceeds the limit"),
        ("", "x, line 1: not valid JSON"),
    ],
    ids=lambda text: str(text)[:10],
)
def test_text_that_is_no_json_is_refused_in_one_line(text, message):
    with pytest.raises(InputError) as caught:
        parse_json(text, "x")
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_json_is_read():
    assert parse_json('{"a": [1, -Infinity, null, "\\u00e9"]}', "x") == {"a": [1, -np.inf, None, "é"]}


GOOD = {"epoch": 1, "steps": 7, "seconds": 2, "best_score": -np.inf, "best_dev": None, "history": [{"loss": 0.5}]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, ""),
        ({"best_dev": {"f1": 1.0}, "history": ()}, ""),
        ({"epoch": "1"}, "x: epoch is '1', expected a whole number"),
        ({"epoch": True}, "x: epoch is True, expected a whole number"),
        ({"steps": 1.5}, "x: steps is 1.5, expected a whole number"),
        ({"seconds": None}, "x: seconds is None, expected a number"),
        ({"best_dev": [1]}, "x: best_dev is [1], expected an object or null"),
        ({"history": [1]}, "x: history is [1], expected a list"),
        ({"more": 1}, "x: 'more' is unknown"),
    ],
)
def test_fields_of_a_file_are_those_of_the_class(changes, message):
    if not message:
        assert Progress(**check_fields(Progress, GOOD | changes, "x")).steps == 7
        return
    with pytest.raises(InputError) as caught:
        check_fields(Progress, GOOD | changes, "x")
    assert str(caught.value) == message


def test_a_field_that_is_missing_is_named():
    with pytest.raises(InputError, match=r"x: 'n_layers' is missing"):
        check_fields(BertConfig, {"vocab_size": 1, "hidden_size": 1}, "x")
    with pytest.raises(InputError, match="x: expected an object, got 3"):
        check_fields(BertConfig, 3, "x")


@pytest.mark.parametrize("name", ["vocab_size", "hidden_size", "n_layers", "n_heads", "feed_forward_size"])
def test_a_shape_beyond_every_bert_is_refused(name):
    values = {"vocab_size": 30, "hidden_size": 8, "n_layers": 1, "n_heads": 2, "feed_forward_size": 8}
    with pytest.raises(InputError, match=f"{name} must be a whole number from 1 to"):
        BertConfig(**values | {name: 2**30})


def test_values_of_a_file_are_shown_printable_and_short():
    assert shown("a\x1b[2J\n\ud800") == r"'a\x1b[2J\n\ud800'"
    assert shown("x" * 61) == f"'{'x' * 59}…'"
    assert (shown(10**70), shown(-(10**5000))) == ("1" + "0" * 70, "a whole number of 16,610 bits")
    assert one_line(ValueError("a\x1b")) == r"'a\x1b'" and one_line(OSError("two\nlines")) == "two lines"
    assert (len(one_line(ValueError("x" * 5000))), one_line(ValueError())) == (200, "ValueError")
    assert len(shown([["x" * 100] * 100] * 100)) == 200
    assert (readable("a name"), readable("a\nname"), readable("x" * 61)) == ("a name", r"'a\nname'", "x" * 59 + "…")
    with pytest.raises(InputError, match="above 0 to 10, got a whole number of 16,610 bits"):
        TrainConfig(lr=10**5000)
    with pytest.raises(InputError, match=r"'a\\x1b' is there twice"):
        parse_json('{"a\\u001b": 1, "a\\u001b": 1}', "x")
