"""The pictures of lessons 2 and 3 draw the right numbers, and the recorded heads are those of the text."""

import os
from dataclasses import replace

import numpy as np
import pytest
from tiny import CONFIG, VOCAB

from minibert.backbone import random_backbone
from minibert.lessons import plain, real_heads, record_heads, weights
from minibert.storage import bert_tokenizer
from minibert.text import Tokenizer

pyplot = pytest.importorskip("matplotlib.pyplot")
pyplot.switch_backend("agg")

from minibert.lessons.plots import attention, packing  # noqa: E402

SEQUENCES = [["[CLS]", "a", "##b", "[SEP]"], ["[CLS]", "[SEP]"]]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


def weights_of(heads):
    """(H, T, T), as lesson 3 reads them: v is the identity in each head."""
    T, n = len(heads.words), len(heads.heads)
    d_head = heads.q.shape[1] // n
    y, _ = plain.attention(heads.q, heads.k, np.tile(np.eye(T, d_head), n), heads.offsets, n)
    return y.reshape(T, n, d_head).transpose(1, 0, 2)[:, :, :T]


def test_a_padded_grid_hatches_what_is_padding():
    padded, packed = packing.padded_and_packed(SEQUENCES).axes
    assert len(padded.patches) == 2 * 4
    assert [patch.get_xy() for patch in padded.patches if patch.get_hatch()] == [(2, 1), (3, 1)]
    assert len(packed.patches) == 6 and not any(patch.get_hatch() for patch in packed.patches)
    assert [text.get_text() for text in padded.texts] == [*SEQUENCES[0], *SEQUENCES[1]]
    assert [text.get_text() for text in packed.texts if text.get_text().isdigit()] == list("012301")
    assert packed.get_xticks().tolist() == [0, 4, 6]


def test_waste_draws_the_shares_and_every_length():
    lengths = {"one": np.array([3, 3, 20, 21]), "other": np.array([5, 5, 5, 5])}
    left, right = packing.waste(lengths, [1, 2, 4], {"one": [0, 0.02, 0.44], "other": [0, 0, 0]}).axes
    assert [line.get_ydata().tolist() for line in right.lines] == [[0, 0.02, 0.44], [0, 0, 0]]
    assert right.lines[0].get_marker() != right.lines[1].get_marker()
    assert [patch.get_data().values.sum() for patch in left.patches] == [1, 1]


def test_heatmaps_show_the_weights_and_hatch_what_is_not_computed():
    P, offsets = np.random.default_rng(0).random((2, 5, 5)), [0, 2, 5]
    axes = attention.heatmaps(P, list("abcde"), ["one", "other"], offsets).axes[:2]
    for ax, expected, title in zip(axes, P, ("one", "other"), strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), expected)
        hatched = [patch.get_bbox().bounds for patch in ax.patches if patch.get_hatch()]
        assert hatched == [(1.5, -0.5, 3, 2), (-0.5, 1.5, 2, 3)] and ax.get_title() == title
        assert [label.get_text() for label in ax.get_yticklabels()] == list("abcde")
    assert not attention.heatmaps(P, list("abcde"), ["one", "other"]).axes[0].patches


def test_attended_has_a_panel_for_each_row():
    rows = {"one": (["a", "b"], np.array([0.25, 0.75])), "other": (["c", "d"], np.array([0.95, 0.05]))}
    axes = attention.attended(rows).axes
    assert [[bar.get_height() for bar in ax.patches] for ax in axes] == [[0.25, 0.75], [0.95, 0.05]]
    assert [label.get_text() for label in axes[1].get_xticklabels()] == ["c", "d"]


# ---------------------------------------------------------------------------------------------------- recorded heads


def test_the_recorded_heads_do_what_lesson_3_says():
    heads = real_heads()
    before, resting, pronoun = weights_of(heads)
    first, second = heads.words[:12], heads.words[12:]
    assert (first[9], second[9]) == ("thirsty", "fresh") and first[:9] == second[:9]
    assert heads.offsets.tolist() == [0, 12, 24] and np.isclose(before.sum(axis=1), 1).all()
    inside = [t for t in range(1, 24) if t != 12]
    assert before[inside, np.array(inside) - 1].min() > 0.95
    assert resting[:12, 0].mean() > 0.7
    it, cat, milk = 7, 2, 5
    assert pronoun[it, cat] > 0.4 > pronoun[it, milk]
    assert pronoun[12 + it, 12 + milk] > 0.4 > 0.1 > pronoun[12 + it, 12 + cat]


def tiny_backbone():
    backbone = random_backbone(replace(CONFIG, max_positions=128), seed=1, dtype=np.float64, std=0.3)
    backbone.tokenizer = Tokenizer(bert_tokenizer(VOCAB))
    return backbone


def test_what_is_recorded_is_made_of_the_hidden_states():
    backbone = tiny_backbone()
    batch, params, config = backbone.encode(["the film was good", "tea"]), backbone.parameters(), backbone.config
    tables = batch.ids, batch.segments, batch.positions
    last, states = plain.encoder(*tables, batch.offsets, params, config.n_heads, config.n_layers)
    np.testing.assert_allclose(last, backbone.forward(batch), rtol=1e-9, atol=1e-11)
    q, k = record_heads.queries_and_keys(backbone, batch)[1]
    for name, found in (("query", q), ("key", k)):
        W, b = (params[f"encoder/layers/1/attention/{name}/{letter}"] for letter in "Wb")
        np.testing.assert_allclose(found, states["layer 0"] @ W + b, rtol=1e-9, atol=1e-11)
    found = record_heads.record(backbone, ["the film was good", "tea"], [(0, 0), (1, 1)])
    np.testing.assert_array_equal(found.q[:, 16:], q[:, 16:])
    np.testing.assert_array_equal(found.k[:, 16:], k[:, 16:])
    assert found.words == ["[CLS]", "the", "film", "was", "good", "[SEP]", "[CLS]", "tea", "[SEP]"]


def test_what_is_written_is_what_is_read(tmp_path):
    backbone = tiny_backbone()
    found = record_heads.record(backbone, ["a book", "tea"], [(1, 0)])
    record_heads.write(found, tmp_path / "heads.npz")
    read = real_heads(tmp_path / "heads.npz")
    assert (read.words, read.heads) == (found.words, found.heads) and read.offsets.tolist() == [0, 4, 7]
    np.testing.assert_allclose(read.q, found.q, atol=2e-3)
    np.testing.assert_allclose(weights_of(read), weights_of(found), atol=5e-3)


@pytest.mark.skipif("MINIBERT_BACKBONE" not in os.environ, reason="MINIBERT_BACKBONE is to be the weights of minilm-l6")
def test_the_file_is_made_again_from_the_backbone():
    from minibert import load_backbone

    again = record_heads.record(load_backbone(weights()), record_heads.SENTENCES, record_heads.HEADS)
    assert (again.words, again.heads) == (real_heads().words, real_heads().heads)
    np.testing.assert_allclose(weights_of(again), weights_of(real_heads()), atol=1e-3)


@pytest.mark.skipif("MINIBERT_BACKBONE" not in os.environ, reason="MINIBERT_BACKBONE is to be the weights of minilm-l6")
def test_the_pronoun_head_does_not_understand_all():
    from minibert import load_backbone

    sentence = "The trophy did not fit in the suitcase because it was too"
    found = record_heads.record(load_backbone(weights()), [f"{sentence} big.", f"{sentence} small."], [(3, 1)])
    trophy, suitcase, it = 2, 8, 10
    for start in found.offsets[:-1]:
        assert [found.words[start + t] for t in (trophy, suitcase, it)] == ["trophy", "suitcase", "it"]
        row = weights_of(found)[0, start + it, start:]
        assert row[trophy] > 2 * row[suitcase]
