"""Settings check themselves, and keep plain numbers, whoever gives them."""

import json

import numpy as np
import pytest

from minibert.config import AdapterConfig, BertConfig, InputError, TrainConfig


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
