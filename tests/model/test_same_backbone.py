"""A backbone of the same weights that computes with them in another way is another backbone, wherever one is given."""

import json
from dataclasses import replace

import pytest
from tiny import CONFIG
from training_runs import CONFIG as TRAIN
from training_runs import Killed, at_step, kill, make_task, make_training

from minibert.backbone import Backbone
from minibert.errors import InputError
from minibert.mixed import MixedModel
from minibert.model import Model
from minibert.params import flatten
from minibert.resume import difference, is_finished, resume
from minibert.storage import add_task, read_bank, write_bank

OTHERS = {"n_heads": (2, 4), "layernorm_eps": (1e-12, 1e-3), "activation": ("gelu", "gelu_tanh")}  # {setting: both}
DROPOUTS = {"hidden_dropout": 0.5, "attention_dropout": 0.0}


def with_config(backbone, **settings):
    """The same weights and tokenizer."""
    return Backbone(replace(CONFIG, **settings), flatten(backbone.params), backbone.tokenizer, backbone.fingerprint)


@pytest.fixture(scope="module")
def record(backbone):
    return Model(backbone, "classify", 2).to_record("task", ("no", "yes"))


@pytest.mark.parametrize("setting", OTHERS)
def test_a_task_is_refused_with_another_config(backbone, record, tmp_path, setting):
    here, there = OTHERS[setting]
    other = with_config(backbone, **{setting: there})
    said = f"trained on a backbone of the same weights with another config: {setting} is {here} there, {there} here"
    for build in (lambda: Model.from_record(other, record), lambda: MixedModel(other, {"task": record})):
        with pytest.raises(InputError, match=said):
            build()
    Model.from_record(backbone, record)


@pytest.mark.parametrize("setting", OTHERS)
def test_a_bank_has_one_config(backbone, record, tmp_path, setting):
    other = Model(with_config(backbone, **{setting: OTHERS[setting][1]}), "classify", 2).to_record("x", ("no", "yes"))
    write_bank(tmp_path / "bank.h5", {"task": record})
    before = (tmp_path / "bank.h5").read_bytes()
    with pytest.raises(InputError, match=f"task 'x' was trained on .* {setting} is"):
        add_task(tmp_path / "bank.h5", other)
    assert (tmp_path / "bank.h5").read_bytes() == before


@pytest.mark.parametrize("setting", DROPOUTS)
def test_dropouts_change_no_score(backbone, record, tmp_path, setting):
    other = with_config(backbone, **{setting: DROPOUTS[setting]})
    Model.from_record(other, record)
    again = Model(other, "classify", 2).to_record("x", ("no", "yes"), {"backbone_config": {setting: DROPOUTS[setting]}})
    add_task(tmp_path / "bank.h5", record, again)
    assert read_bank(tmp_path / "bank.h5")["x"].training["backbone_config"] == {setting: DROPOUTS[setting]}


@pytest.mark.parametrize(
    ("setting", "value"), [(name, there) for name, (_, there) in OTHERS.items()] + [*DROPOUTS.items()]
)
def test_a_run_goes_on_with_its_own_config_alone(backbone, tmp_path, setting, value):
    """Dropout included: it decides the bits of what is still to come."""
    other = with_config(backbone, **{setting: value})
    config = replace(TRAIN, epochs=1)
    make_training(backbone, tmp_path, config, "head").run()
    assert is_finished(make_training(backbone, tmp_path, config, "head"))
    assert not is_finished(make_training(other, tmp_path, config, "head"))
    with pytest.raises(InputError, match=f"backbone_config/{setting} was {getattr(CONFIG, setting)!r}, now it is"):
        resume(make_training(other, tmp_path, config, "head"))


def test_a_run_of_an_older_version_is_known_by_its_bank(backbone, tmp_path):
    """Its settings do not have the config, but its bank has always had it."""

    def run(backbone):
        training = make_training(backbone, tmp_path, replace(TRAIN, epochs=1), "head", make_task())
        del training.settings["backbone_config"]
        return training

    run(backbone).run()
    assert is_finished(make_training(backbone, tmp_path, replace(TRAIN, epochs=1), "head"))
    with pytest.raises(InputError, match=r"is not the bank of this run \(n_heads is 2 there, 4 here\)"):
        is_finished(make_training(with_config(backbone, n_heads=4), tmp_path, replace(TRAIN, epochs=1), "head"))
    now = json.loads(json.dumps(make_training(backbone, tmp_path, replace(TRAIN, epochs=1), "head").settings))
    older = {name: value for name, value in now.items() if name != "backbone_config"}
    assert difference(older, now) == ""
    told = difference(older | {"backbone_config": now["backbone_config"] | {"n_heads": 4}}, now)
    assert told == "backbone_config/n_heads was 4, now it is 2"


@pytest.mark.parametrize(("step", "told"), [(1, True), (4, False)])
def test_an_older_run_without_a_bank_goes_on_with_a_note(backbone, tmp_path, monkeypatch, capsys, step, told):
    first = make_training(backbone, tmp_path, method="head", steps=1)
    del first.settings["backbone_config"]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        at_step(patch, first, step, kill)
        first.run()
    again = make_training(backbone, tmp_path, method="head")
    again.quiet = False
    assert resume(again) and again.optimizer.steps == step
    assert ("whether its backbone had this config cannot be told" in capsys.readouterr().out) is told
