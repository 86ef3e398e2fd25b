"""Known mistakes: each a one-line edit of a function of plain.py, and what to say to who makes it.

If a learner's function gives on every input what the edited one gives, this is the mistake that was made. That is how
a message can name it, whatever way the function is written in.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from minibert.lessons import plain


class Mistake(NamedTuple):
    """An edit of `function`: the line, or a part of it, and what stands there instead; and the message."""

    function: str
    line: str
    instead: str
    message: str


# {exercise: its mistakes}, those that are made most often first
MISTAKES: dict[str, tuple[Mistake, ...]] = {}


def _of(exercise: str, *edits: tuple[str, ...]) -> None:
    """Each edit is (line, instead, message), or (function, line, instead, message) for a helper of the exercise."""
    MISTAKES[exercise] = tuple(Mistake(*edit) if len(edit) == 4 else Mistake(exercise, *edit) for edit in edits)


_of(
    "wordpiece",
    (
        "ends = range(len(word), start, -1)",
        "ends = range(start + 1, len(word) + 1)",
        "the shortest piece is taken; WordPiece takes the longest that the vocabulary has",
    ),
    ('prefix = "##" if start > 0 else ""', 'prefix = ""', 'pieces after the first must begin with "##"'),
    (
        'prefix = "##" if start > 0 else ""',
        'prefix = "##"',
        'the first piece of a word has no "##"',
    ),
    (
        'return ["[UNK]"]',
        'return pieces + ["[UNK]"]',
        "only the rest of the word became [UNK]; if a rest has no piece, the whole word is [UNK]",
    ),
    ('return ["[UNK]"]', "return pieces", "a rest without a piece was dropped; the whole word is [UNK]"),
    (
        "pieces.append(prefix + word[start:end])",
        "pieces.append(word[start:end])",
        'the piece is found with "##", and must be returned with it, too',
    ),
)
_of(
    "pack",
    (
        "positions = np.concatenate([np.arange(length) for length in lengths])",
        "positions = np.arange(len(ids))",
        "positions run on through the batch; they begin again at 0 in each sequence",
    ),
    (
        "offsets = np.concatenate([[0], np.cumsum(lengths)])",
        "offsets = np.concatenate([[0], np.cumsum(lengths)])[:-1]",
        "offsets has B numbers: the end of the last sequence is missing; there are B + 1",
    ),
    (
        "offsets = np.concatenate([[0], np.cumsum(lengths)])",
        "offsets = np.cumsum(lengths)",
        "offsets has no 0 in front: it must begin where the first sequence begins",
    ),
    (
        "offsets = np.concatenate([[0], np.cumsum(lengths)])",
        "offsets = np.array(lengths)",
        "these are the lengths; offsets are their cumulative sums, with a 0 in front",
    ),
    (
        "np.arange(length)",
        "np.arange(1, length + 1)",
        "positions begin at 1; the first token of a sequence has position 0",
    ),
)
_of(
    "softmax",
    (
        "shifted = x - x.max(axis=1, keepdims=True)",
        "shifted = x",
        "exp overflows for large scores: subtract the largest element of the row first",
    ),
    (
        "p = e / e.sum(axis=1, keepdims=True)",
        "p = e / e.sum(axis=0, keepdims=True)",
        "the columns sum to 1; each row must: sum over axis 1",
    ),
    ("p = e / e.sum(axis=1, keepdims=True)", "p = e / e.sum()", "all elements together sum to 1; each row must"),
    ("p = e / e.sum(axis=1, keepdims=True)", "p = e", "the rows are not divided by their sums"),
    (
        "shifted = x - x.max(axis=1, keepdims=True)",
        "shifted = x - x.max()",
        "the largest of all rows is subtracted: the exponentials of another row may all become 0. Take the row's own",
    ),
)
_of(
    "attention",
    (" / math.sqrt(d_head)", "", "the scores are not divided by sqrt(d_head)"),
    (
        "math.sqrt(d_head)",
        "math.sqrt(q.shape[1])",
        "the scores are divided by sqrt(D); it must be sqrt(d_head), the size of one head",
    ),
    ("math.sqrt(d_head)", "d_head", "the scores are divided by d_head; it must be its square root"),
    (
        "rows = slice(offsets[b], offsets[b + 1])",
        "rows = slice(0, offsets[-1])",
        "tokens attend to the other sequences of the batch: a sequence's rows alone belong to it",
    ),
    (
        "scores = q[rows, head] @ k[rows, head].T",
        "scores = k[rows, head] @ q[rows, head].T",
        "queries and keys are exchanged: row i of the scores is what token i asks",
    ),
    (
        "P, _ = softmax(scores)",
        "P = softmax(scores.T)[0].T",
        "the softmax is over the queries (columns); it must be over the keys, row by row",
    ),
    (
        "head = slice(h * d_head, (h + 1) * d_head)",
        "head = slice(h, None, n_heads)",
        "the columns of a head are taken with a stride; head h has d_head columns next to each other",
    ),
    (
        "head = slice(h * d_head, (h + 1) * d_head)",
        "head = slice(0, None)",
        "all heads look at all columns; each has d_head columns of its own",
    ),
    (
        "y[rows, head] = P @ v[rows, head]",
        "y[rows, head] = P @ k[rows, head]",
        "the weights are applied to k, not to v",
    ),
)
_of(
    "linear",
    ("y = x @ W + b", "y = x @ W", "the bias is missing"),
    ("y = x @ W + b", "y = x @ W - b", "the bias is subtracted"),
    ("y = x @ W + b", "y = np.maximum(x @ W + b, 0)", "a linear layer has no nonlinearity: that is another function"),
    ("y = x @ W + b", "y = x @ (W + b)", "b is added to W: it belongs to the product x W"),
    ("y = x @ W + b", "y = (x @ W + b) / x.shape[1]", "the product is a sum over the inputs, not a mean"),
)
_of(
    "linear_backward",
    ("dW = x.T @ dy", "dW = (x.T @ dy).T", "dW is transposed: it has the shape of W, (in, out)"),
    ("db = dy.sum(axis=0)", "db = dy.mean(axis=0)", "db is a mean over the rows; every row adds to it: a sum"),
    ("dW = x.T @ dy", "dW = x.T @ dy / len(dy)", "dW is a mean over the rows; every row adds to it: a sum"),
    ("db = dy.sum(axis=0)", "db = dy.sum(axis=1)", "db is summed over the columns; b has one element for each of them"),
    ("db = dy.sum(axis=0)", "db = dy", "db has a row for each token; one b is shared by all, so they are summed"),
    ("db = dy.sum(axis=0)", "db = dy.sum()", "db is one number; b has an element for each output"),
    ("dx = dy @ W.T", "dx = dy", "dx does not go through W"),
    ("dx = dy @ W.T", "dx = -(dy @ W.T)", "dx has the wrong sign"),
)
_of(
    "embedding",
    ("y = W[ids]", "y = W[:, ids].T if W.shape[1] > ids.max() else W[: len(ids)]", "columns are taken, not rows"),
    ("y = W[ids]", "y = W[: len(ids)]", "the first rows are taken, whatever ids says"),
    ("y = W[ids]", "y = W[ids - 1]", "the row before is taken: ids count from 0"),
    ("y = W[ids]", "y = W[np.unique(ids)]", "a row that is asked for twice must be given twice"),
    ("y = W[ids]", "y = W[np.sort(ids)]", "the rows are sorted; token t has row ids[t]"),
)
_of(
    "embedding_backward",
    (
        "np.add.at(dW, ids, dy)",
        "dW[ids] += dy",
        "dW[ids] += dy, or = dy, writes once to a row that was taken several times: only its last gradient is kept",
    ),
    (
        "np.add.at(dW, ids, dy)",
        "np.add.at(dW, ids, dy); dW /= np.maximum(np.bincount(ids, minlength=len(dW)), 1)[:, None]",
        "the gradients of a row that was taken several times are averaged; they must be added",
    ),
    ("dW = np.zeros(shape)", "dW = np.ones(shape)", "rows that were never taken have no gradient: they are zero"),
    ("np.add.at(dW, ids, dy)", "np.add.at(dW, ids, dy / len(ids))", "dW is a mean over the tokens, not a sum"),
    (
        "np.add.at(dW, ids, dy)",
        "np.add.at(dW, np.arange(len(ids)), dy)",
        "the gradients go to the first rows, not to ids",
    ),
)
_of(
    "cross_entropy",
    ("loss = -np.log(right).mean()", "loss = -np.log(right).sum()", "the loss is a sum over the rows, not a mean"),
    ("loss = -np.log(right).mean()", "loss = np.log(right).mean()", "the sign is missing: the loss is above 0"),
    ("loss = -np.log(right).mean()", "loss = 1 - right.mean()", "the logarithm is missing"),
    ("loss = -np.log(right).mean()", "loss = -np.log(right.mean())", "the mean is inside the logarithm"),
    (
        "loss = -np.log(right).mean()",
        "loss = -np.log(p).mean()",
        "all classes are counted; the loss of a row is that of its own label alone",
    ),
    ("loss = -np.log(right).mean()", "loss = -np.log2(right).mean()", "this is the logarithm to base 2"),
    ("loss = -np.log(right).mean()", "loss = -scores[np.arange(len(labels)), labels].mean()", "the softmax is missing"),
    (
        "loss = -np.log(right).mean()",
        "loss = -(np.log(right).sum() + np.log(1 - p).sum() - np.log(1 - right).sum()) / len(labels)",
        "this is the loss of C independent yes-or-no questions; the classes exclude each other",
    ),
)
_of(
    "cross_entropy_backward",
    ("dscores = (p - one_hot) / len(labels)", "dscores = p - one_hot", "the loss is a mean over B rows: divide by B"),
    (
        "dscores = (p - one_hot) / len(labels)",
        "dscores = (one_hot - p) / len(labels)",
        "the sign is wrong: p - one_hot",
    ),
    ("dscores = (p - one_hot) / len(labels)", "dscores = p / len(labels)", "1 is not subtracted at the label"),
    (
        "dscores = (p - one_hot) / len(labels)",
        "dscores = (p - one_hot) / p.size",
        "divided by B C; the mean is over B rows",
    ),
    (
        "dscores = (p - one_hot) / len(labels)",
        "dscores = -one_hot / p / len(labels)",
        "this is the gradient with respect to p; the softmax before it is missing",
    ),
    (
        "dscores = (p - one_hot) / len(labels)",
        "dscores = (p - one_hot) * p * (1 - p) / len(labels)",
        "p (1 - p) is there once too often: it has cancelled already",
    ),
)
_of(
    "central_difference",
    ("/ (2 * epsilon)", "/ epsilon", "the two values are 2 epsilon apart: the gradient is twice too large"),
    (
        "        x[i] = value\n        gradient",
        "        gradient",
        "the element is not put back: later elements are differentiated at another x",
    ),
    ("(above - below)", "(below - above)", "the sign is wrong: f(x + eps) - f(x - eps)"),
    ("below = f(x)", "below = 0", "f below x is not subtracted"),
    (
        "x[i] = value - epsilon",
        "x[i] = value",
        "only one side is moved; then the points are one epsilon apart, and the error is larger: move x to both sides",
    ),
    ("x[i] = value + epsilon", "x += epsilon", "all elements are moved, not one at a time"),
    (
        "gradient[i] = (above - below)",
        "gradient[i] += value + (above - below)",
        "the value of x is added to the gradient",
    ),
)
_TANH = "0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))"
_SIGMOID = "1 / (1 + np.exp(-1.702 * x))"
_of(
    "gelu",
    ("y = x * normal_cdf(x)", f"y = x * {_TANH}", "this is the tanh approximation; BERT has the exact form, with erf"),
    (
        "y = x * normal_cdf(x)",
        f"y = x * {_SIGMOID}",
        "this is the sigmoid approximation; BERT has the exact form, with erf",
    ),
    ("y = x * normal_cdf(x)", "y = x / (1 + np.exp(-x))", "this is SiLU (swish), with the sigmoid in place of Phi"),
    ("y = x * normal_cdf(x)", "y = np.maximum(x, 0)", "this is ReLU"),
    ("y = x * normal_cdf(x)", "y = normal_cdf(x)", "this is Phi(x): multiply it by x"),
    ("normal_cdf", "x / math.sqrt(2)", "x", "erf needs x / sqrt(2)"),
    ("normal_cdf", "0.5 * (1 + np", "(1 + np", "the factor 1/2 of Phi is missing"),
    ("normal_cdf", "0.5 * (1 + np", "0.5 * (0 + np", "the 1 of Phi = (1 + erf) / 2 is missing"),
)
_of(
    "gelu_backward",
    (
        "dx = dy * (normal_cdf(x) + x * density)",
        "dx = dy * normal_cdf(x)",
        "x phi(x) is missing: y is a product of x and Phi(x)",
    ),
    ("dx = dy * (normal_cdf(x) + x * density)", "dx = dy * (normal_cdf(x) + density)", "phi is not multiplied by x"),
    (
        "dx = dy * (normal_cdf(x) + x * density)",
        "dx = dy * x * density",
        "Phi(x) is missing: y is a product of x and Phi(x)",
    ),
    ("dx = dy * (normal_cdf(x) + x * density)", "dx = normal_cdf(x) + x * density", "dy is missing: the chain rule"),
    (
        "density = np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)",
        "density = np.exp(-0.5 * x**2)",
        "phi is not divided by sqrt(2 pi)",
    ),
    ("np.exp(-0.5 * x**2)", "np.exp(-(x**2))", "the exponent of phi is -x^2 / 2"),
    (
        "dx = dy * (normal_cdf(x) + x * density)",
        "dx = dy * (normal_cdf(x) - x * density)",
        "the sign of x phi(x) is wrong",
    ),
    (
        "dx = dy * (normal_cdf(x) + x * density)",
        "dx = dy * (1 / (1 + np.exp(-x)) + x * np.exp(-x) / (1 + np.exp(-x)) ** 2)",
        "this is the derivative of SiLU, with the sigmoid in place of Phi",
    ),
    (
        "dx = dy * (normal_cdf(x) + x * density)",
        f"t = 2 * {_TANH} - 1; dt = (1 - t**2) * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2); "
        "dx = dy * 0.5 * (1 + t + x * dt)",
        "this is the derivative of the tanh approximation; BERT has the exact form",
    ),
)
_of(
    "layernorm",
    (
        "variance = ((x - mean) ** 2).mean(axis=1, keepdims=True)",
        "variance = ((x - mean) ** 2).sum(axis=1, keepdims=True) / (x.shape[1] - 1)",
        "the variance is divided by D - 1; LayerNorm divides by D",
    ),
    (
        "1 / np.sqrt(variance + eps)",
        "1 / (np.sqrt(variance) + eps)",
        "eps is outside the square root; it belongs to the variance",
    ),
    ("1 / np.sqrt(variance + eps)", "1 / np.sqrt(variance)", "eps is missing"),
    (
        "1 / np.sqrt(variance + eps)",
        "1 / (variance + eps)",
        "the square root is missing: divide by the standard deviation",
    ),
    ("1 / np.sqrt(variance + eps)", "1 / np.sqrt(variance + eps**2)", "eps is squared"),
    (
        "mean = x.mean(axis=1, keepdims=True)",
        "mean = x.mean(axis=0, keepdims=True)",
        "the mean is over the batch (axis 0); LayerNorm normalizes each row",
    ),
    ("mean = x.mean(axis=1, keepdims=True)", "mean = x.mean()", "the mean is over all elements; each row has its own"),
    ("n = (x - mean) * inverse_std", "n = x * inverse_std", "the mean is not subtracted from x"),
    (
        "variance = ((x - mean) ** 2)",
        "variance = (x ** 2)",
        "the mean is not subtracted before squaring: this is RMSNorm's divisor",
    ),
    ("y = gamma * n + beta", "y = gamma * (n + beta)", "beta is multiplied by gamma, too: y = gamma n + beta"),
    ("y = gamma * n + beta", "y = beta * n + gamma", "gamma and beta are exchanged"),
    ("y = gamma * n + beta", "y = gamma * n", "beta is missing"),
    ("y = gamma * n + beta", "y = n", "gamma and beta are missing"),
    ("y = gamma * n + beta", "y = n + beta", "gamma is missing"),
)
_of(
    "layernorm_backward",
    (
        "dx = inverse_std * (g - mean_g - n * mean_gn)",
        "dx = inverse_std * (g - mean_g)",
        "the mean of g n is missing: the variance depends on x, too",
    ),
    (
        "dx = inverse_std * (g - mean_g - n * mean_gn)",
        "dx = inverse_std * (g - n * mean_gn)",
        "the mean of g is missing: the mean depends on x, too",
    ),
    (
        "dx = inverse_std * (g - mean_g - n * mean_gn)",
        "dx = inverse_std * g",
        "mean and variance are taken as constants; both depend on x",
    ),
    (
        "dx = inverse_std * (g - mean_g - n * mean_gn)",
        "dx = g - mean_g - n * mean_gn",
        "dx is not divided by the standard deviation",
    ),
    ("g = dy * gamma", "g = dy", "dy is not multiplied by gamma before it goes back through n"),
    (
        "dx = inverse_std * (g - mean_g - n * mean_gn)",
        "dx = inverse_std * (g - mean_g + n * mean_gn)",
        "the sign of n mean(g n) is wrong",
    ),
    (
        "dx = inverse_std * (g - mean_g - n * mean_gn)",
        "dx = inverse_std * (g - mean_g - mean_gn)",
        "mean(g n) is not multiplied by n",
    ),
    (
        "mean_gn = (g * n).mean(axis=1, keepdims=True)",
        "mean_gn = (g * n).sum(axis=1, keepdims=True)",
        "g n is summed over the row; it must be a mean",
    ),
    (
        "mean_g = g.mean(axis=1, keepdims=True)",
        "mean_g = g.sum(axis=1, keepdims=True)",
        "g is summed over the row; it must be a mean",
    ),
    (
        "mean_g = g.mean(axis=1, keepdims=True)",
        "mean_g = g.mean(axis=0, keepdims=True)",
        "the mean of g is over axis 0; statistics are those of a row",
    ),
    ("dgamma = (dy * n).sum(axis=0)", "dgamma = dy.sum(axis=0)", "dgamma is not multiplied by n"),
    (
        "dgamma = (dy * n).sum(axis=0)",
        "dgamma = (dy * n).mean(axis=0)",
        "dgamma is a mean over the rows; every row adds to it: a sum",
    ),
    ("dbeta = dy.sum(axis=0)", "dbeta = dy.mean(axis=0)", "dbeta is a mean over the rows; every row adds to it: a sum"),
    (
        "dgamma = (dy * n).sum(axis=0)",
        "dgamma = (dy * n * gamma).sum(axis=0)",
        "dgamma has gamma in it: y is linear in gamma, so it drops out",
    ),
    ("dbeta = dy.sum(axis=0)", "dbeta = (dy * gamma).sum(axis=0)", "dbeta has gamma in it: beta is added after gamma"),
)
_of(
    "softmax_backward",
    (
        "dx = p * (dp - inner)",
        "dx = dp * p * (1 - p)",
        "p (1 - p) is the diagonal alone: in a softmax each output depends on every input of its row",
    ),
    ("dx = p * (dp - inner)", "dx = p * dp", "the sum over the row is missing"),
    ("dx = p * (dp - inner)", "dx = dp - inner", "the factor p is missing"),
    (
        "inner = (dp * p).sum(axis=1, keepdims=True)",
        "inner = dp.sum(axis=1, keepdims=True)",
        "the sum is of dp p, not of dp",
    ),
    (
        "inner = (dp * p).sum(axis=1, keepdims=True)",
        "inner = (dp * p).mean(axis=1, keepdims=True)",
        "dp p is averaged over the row; it must be a sum",
    ),
    (
        "inner = (dp * p).sum(axis=1, keepdims=True)",
        "inner = (dp * p).sum(axis=0, keepdims=True)",
        "dp p is summed over the columns (axis 0); a row is normalized by itself",
    ),
    (
        "inner = (dp * p).sum(axis=1, keepdims=True)",
        "inner = (dp * p).sum()",
        "dp p is summed over all rows; each row has its own sum",
    ),
    ("dx = p * (dp - inner)", "dx = p * (inner - dp)", "the sign is wrong: p (dp - sum)"),
)
_of(
    "attention_backward",
    (
        "dv[rows, head] = P.T @ dy[rows, head]",
        "dv[rows, head] = P @ dy[rows, head]",
        "dv needs the transpose of P: token j collects from all that attended to it",
    ),
    (" / math.sqrt(d_head)", "", "the scale is lost: forward divided the scores by sqrt(d_head)"),
    (
        "dS = softmax_backward(dP, P) / math.sqrt(d_head)",
        "dS = dP * P * (1 - P) / math.sqrt(d_head)",
        "P (1 - P) is the diagonal alone: the row sum of dP P is lost",
    ),
    (
        "dS = softmax_backward(dP, P) / math.sqrt(d_head)",
        "dS = dP * P / math.sqrt(d_head)",
        "the row sum of dP P is lost",
    ),
    (
        "dS = softmax_backward(dP, P) / math.sqrt(d_head)",
        "dS = dP / math.sqrt(d_head)",
        "the softmax is not differentiated",
    ),
    (
        "dk[rows, head] = dS.T @ q[rows, head]",
        "dk[rows, head] = dS @ q[rows, head]",
        "dk needs the transpose of dS: keys are its columns",
    ),
    (
        "dk[rows, head] = dS.T @ q[rows, head]",
        "dk[rows, head] = dS.T @ k[rows, head]",
        "dk is made of the queries, not of the keys",
    ),
    (
        "dq[rows, head] = dS @ k[rows, head]",
        "dq[rows, head] = dS @ q[rows, head]",
        "dq is made of the keys, not of the queries",
    ),
    ("math.sqrt(d_head)", "math.sqrt(q.shape[1])", "the scores were divided by sqrt(d_head), not by sqrt(D)"),
    ("math.sqrt(d_head)", "d_head", "the scores were divided by sqrt(d_head), not by d_head"),
    ("return dq, dk, dv", "return dk, dq, dv", "dq and dk are returned in the wrong order"),
)
_of(
    "adapter",
    ("y = x + z", "y = z", "the skip connection is missing: y = x + ..."),
    ("h, gelu_cache = gelu(u)", "h, gelu_cache = u, u", "the nonlinearity is missing between W_down and W_up"),
    (
        "h, gelu_cache = gelu(u)",
        "h, gelu_cache = np.maximum(u, 0), u",
        "the nonlinearity is ReLU; this adapter has GELU",
    ),
    ("y = x + z", "y = x + gelu(z)[0]", "there is a second nonlinearity after W_up"),
    ("y = x + z", "y = gelu(x + z)[0]", "there is a nonlinearity after the skip connection"),
    ("y = x + z", "y = x * (1 + z)", "x is scaled, not added to"),
    (
        'u, down_cache = linear(x, p["down/W"], p["down/b"])',
        'u, down_cache = linear(x, p["down/W"], 0)',
        "b_down is missing",
    ),
    ('z, up_cache = linear(h, p["up/W"], p["up/b"])', 'z, up_cache = linear(h, p["up/W"], 0)', "b_up is missing"),
    ("y = x + z", "y = x - z", "the bottleneck's output is subtracted"),
)
_of(
    "adapter_backward",
    ("dx = dy + dx", "dx = dx", "the skip connection is lost in dx: y = x + ..., so dy itself belongs to dx"),
    ("dx = dy + dx", "dx = dy", "the bottleneck's share of dx is lost: x has two consumers"),
    (
        "du = gelu_backward(dh, gelu_cache)",
        "du = gelu_backward(dh, up_cache[0])",
        "the derivative of gelu is taken at h; it belongs at u, before the nonlinearity",
    ),
    ("du = gelu_backward(dh, gelu_cache)", "du = dh", "the derivative of gelu is missing"),
    (
        "linear_backward(dy, up_cache)",
        "linear_backward(dy, (gelu_cache, up_cache[1]))",
        "dW_up is made of u; W_up was multiplied by h = gelu(u)",
    ),
    ("du = gelu_backward(dh, gelu_cache)", "du = dh * (gelu_cache > 0)", "this is the derivative of ReLU"),
    ('"up/b": db_up', '"up/b": db_up / len(dy)', "the gradient of b_up is a mean over the rows, not a sum"),
    ('"down/b": db_down', '"down/b": db_down / len(dy)', "the gradient of b_down is a mean over the rows, not a sum"),
    ('"up/W": dW_up', '"up/W": dW_up.T', "the gradient of W_up is transposed"),
    ('"down/W": dW_down', '"down/W": dW_down.T', "the gradient of W_down is transposed"),
    ("dx = dy + dx", "dx = dy - dx", "the bottleneck's share of dx has the wrong sign"),
)
_of(
    "adam_step",
    ("m_hat = m / (1 - beta1**step)", "m_hat = m", "the bias of m is not corrected: it began at zero"),
    ("v_hat = v / (1 - beta2**step)", "v_hat = v", "the bias of v is not corrected: it began at zero"),
    (
        "m_hat = m / (1 - beta1**step)\n    v_hat = v / (1 - beta2**step)",
        "m_hat, v_hat = m, v",
        "m and v are not corrected for their start at zero",
    ),
    ("(np.sqrt(v_hat) + eps)", "np.sqrt(v_hat + eps)", "eps is inside the square root"),
    (
        "    m = beta1 * m + (1 - beta1) * g\n",
        "    g = g + weight_decay * p\n    m = beta1 * m + (1 - beta1) * g\n",
        "weight decay is added to g (L2 regularization), and to p as well",
    ),
    (
        "m = beta1 * m + (1 - beta1) * g",
        "g = g + weight_decay * p; weight_decay = 0; m = beta1 * m + (1 - beta1) * g",
        "weight decay is added to g (L2 regularization); decoupled, it moves p itself",
    ),
    ("- lr * weight_decay * p", "- weight_decay * p", "weight decay is not multiplied by the learning rate"),
    ("- lr * weight_decay * p", "", "weight decay is missing"),
    ("(1 - beta2) * g**2", "(1 - beta2) * g", "v averages g; it must average g^2"),
    (
        "m_hat = m / (1 - beta1**step)",
        "m_hat = m / (1 - beta1 ** (step + 1))",
        "the correction counts the steps from 0: step is 1 for the first",
    ),
    ("/ (np.sqrt(v_hat) + eps)", "/ (v_hat + eps)", "the square root of v is missing"),
    ("- lr * m_hat", "+ lr * m_hat", "p goes up the gradient: the sign is wrong"),
)
_of(
    "learning_rate",
    (
        "peak * (step + 1) / rising",
        "peak * step / rising",
        "step 0 has a rate of zero: the first batch is lost. The rise ends at step = rising - 1",
    ),
    ("max(1, steps - rising)", "steps", "the fall is measured over all steps; it begins after the rise"),
    ("peak * (steps - step) / max(1, steps - rising)", "peak", "the rate stays at its peak; it must fall to zero"),
    ("    if step < rising:\n        return peak * (step + 1) / rising\n", "", "there is no warm-up"),
    (
        "rising = round(warmup * steps)",
        "rising = warmup * steps",
        "the steps of the rise are not rounded: with half a step the fall starts above the peak",
    ),
    ("peak * (steps - step) /", "peak * (steps - step - 1) /", "the last step has a rate of zero: it moves nothing"),
)
_of(
    "clip",
    (
        "    return {name: g * factor for name, g in grads.items()}",
        "    return {name: g * min(1.0, largest / math.sqrt((g**2).sum())) for name, g in grads.items()}",
        "each tensor is clipped by its own norm: that changes the direction of the whole. One factor for all",
    ),
    (
        "factor = min(1.0, largest / norm)",
        "factor = largest / norm",
        "gradients whose norm is small are enlarged; they must stay as they are",
    ),
    (
        "norm = math.sqrt(sum((g**2).sum() for g in grads.values()))",
        "norm = sum((g**2).sum() for g in grads.values())",
        "the square root of the norm is missing",
    ),
    (
        "norm = math.sqrt(sum((g**2).sum() for g in grads.values()))",
        "norm = sum(math.sqrt((g**2).sum()) for g in grads.values())",
        "the norms of the tensors are added; their squares must be, under one root",
    ),
    (
        "g * factor for",
        "np.clip(g, -largest, largest) for",
        "each element is clipped by itself: that changes the direction. One factor for all",
    ),
    (
        "norm = math.sqrt(sum((g**2).sum() for g in grads.values()))",
        "norm = max(abs(g).max() for g in grads.values())",
        "the largest element is no norm of all of them",
    ),
)


@functools.cache
def _sources() -> dict[str, str]:
    """{function: its source} of plain.py."""
    text = Path(plain.__file__).read_text(encoding="utf-8")
    parts = text.split("\ndef ")
    return {part.split("(", 1)[0]: "def " + part for part in parts[1:]}


def source_of(function: str) -> str:
    """The text of a function of plain.py."""
    return _sources()[function]


@functools.cache
def with_mistake(exercise: str, mistake: Mistake) -> Callable:
    """The function of an exercise, of a plain.py in which that one mistake is made. Raises ValueError if the line is
    not there."""
    source = source_of(mistake.function)
    if mistake.line not in source:
        raise ValueError(f"{mistake.function} has no line {mistake.line!r}")
    return function_with(exercise, mistake.function, source.replace(mistake.line, mistake.instead))


def function_with(exercise: str, function: str, source: str) -> Callable:
    """The function of an exercise, of a plain.py in which `function` has another source."""
    names = dict(vars(plain))
    for name, value in vars(plain).items():  # all functions see each other's edited forms
        if isinstance(value, types.FunctionType) and value.__module__ == plain.__name__:
            names[name] = types.FunctionType(value.__code__, names, name, value.__defaults__)
    exec(compile(source, f"<{function}, edited>", "exec"), names)
    return names[exercise]
