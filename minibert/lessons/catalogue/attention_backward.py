"""Softmax and attention, backward."""

from minibert.lessons.exercise import Exercise

_DQ, _DK = "dq[rows, head] = dS @ k[rows, head]", "dk[rows, head] = dS.T @ q[rows, head]"
_DV = "dv[rows, head] = P.T @ dy[rows, head]"
_ALL_FIVE = f"""{_DV}
            dP = dy[rows, head] @ v[rows, head].T
            dS = softmax_backward(dP, P) / math.sqrt(d_head)
            {_DQ}
            {_DK}"""
_ONE_HEAD = _ALL_FIVE
for _name in ("dq", "dk", "dv"):
    _ONE_HEAD = _ONE_HEAD.replace(f"{_name}[rows, head] =", f"{_name} =")
AFTER_P = (  # in attention_lse_backward, too
    (
        "dv[rows, head] = P.T @ dy[rows, head]",
        "dv[rows, head] = P @ dy[rows, head]",
        "dv needs the transpose of P: token j collects from all that attended to it",
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
    (
        "return dq, dk, dv",
        "return dk, dq, dv",
        "dq and dk are exchanged: dS @ k is dq, dS.T @ q is dk, and the order is dq, dk, dv",
    ),
    (_DQ, "dq[rows, head] = dS.T @ k[rows, head]", "dq needs dS as it is: queries are its rows"),
    (
        f"{_DQ}\n            {_DK}",
        "dq[rows, head] = dS @ q[rows, head]; dk[rows, head] = dS.T @ k[rows, head]",
        "q and k are exchanged: dq is made of the keys, dk of the queries",
    ),
    (_DV, "dv = P.T @ dy[rows, head]", "dv is one head's part: write it into dv[rows, head]"),
    (_DQ, "dq = dS @ k[rows, head]", "dq is one head's part: write it into dq[rows, head]"),
    (_DK, "dk = dS.T @ q[rows, head]", "dk is one head's part: write it into dk[rows, head]"),
    (
        _DK,
        f"{_DK}; return dq, dk, dv",
        "only one head of the first sequence has gradients: is the return inside the loop?",
    ),
)

EXERCISES = (
    Exercise(
        "softmax_backward",
        6,
        outputs=("dx",),
        cases=None,
        hints=(
            "Each p of a row depends on every x of that row: how do they meet again?",
            "dp_i / dx_j = p_i (1[i = j] - p_j). Multiply by dp_i and sum over i.",
            "dx = p * (dp - (dp * p).sum(axis=1, keepdims=True))",
        ),
        mistakes=(
            (
                "dx = p * (dp - inner)",
                "dx = dp * p * (1 - p)",
                "p (1 - p) is the diagonal alone: in a softmax each output depends on every input of its row",
            ),
            ("dx = p * (dp - inner)", "dx = p * dp", "the sum over the row is missing"),
            ("dx = p * (dp - inner)", "dx = dp - inner", "the factor p is missing"),
            ("dx = p * (dp - inner)", "dx = p * dp - inner", "the factor p is missing at the sum: p (dp - sum)"),
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
            (
                "inner = (dp * p).sum(axis=1, keepdims=True)",
                "inner = dp.sum()",
                "the sum is of dp over all rows; it must be of dp p, row by row",
            ),
            (
                "inner = (dp * p).sum(axis=1, keepdims=True)",
                "inner = (dp * p).sum(axis=1)",
                "keepdims=True is missing: the sum of each row must stay a column, (T, 1)",
            ),
            ("dx = p * (dp - inner)", "dx = p * (dp + inner)", "the sum is added; it is subtracted: p (dp - sum)"),
            ("dx = p * (dp - inner)", "dx = p * (inner - dp)", "the sign is wrong: p (dp - sum)"),
        ),
    ),
    Exercise(
        "attention_backward",
        6,
        outputs=("dq", "dk", "dv"),
        cases=None,
        hints=(
            "y = P v is a product: what is the gradient of each of its two factors?",
            "dP = dy v.T, then through the softmax, then through scores = q k.T / sqrt(d_head).",
            "dv = P.T dy; dS = softmax_backward(dP, P) / sqrt(d_head); dq = dS k; dk = dS.T q",
        ),
        order=("dv", "dq", "dk"),
        mistakes=(
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
            ("math.sqrt(d_head)", "math.sqrt(q.shape[1])", "the scores were divided by sqrt(d_head), not by sqrt(D)"),
            (
                "math.sqrt(d_head)",
                "d_head",
                "the scores were divided by sqrt(d_head), not by d_head; or the division is there twice",
            ),
            (
                "softmax_backward(dP, P)",
                "softmax_backward(dP.T, P.T).T",
                "the softmax is differentiated over the queries (columns); forward took it over the keys, row by row",
            ),
            (
                "dP = dy[rows, head] @ v[rows, head].T",
                "dP = v[rows, head] @ dy[rows, head].T",
                "dP is transposed: its rows are the queries, as those of dy are",
            ),
            (
                "softmax_backward(dP, P)",
                "softmax_backward(P, dP)",
                "the arguments of softmax_backward are exchanged: first the gradient dP, then its cache P",
            ),
            (
                "dP = dy[rows, head] @ v[rows, head].T",
                "dP = dy[rows] @ v[rows].T",
                "head is left out in dP: all columns are in it, and a head has its own",
            ),
            (
                _ALL_FIVE,
                _ONE_HEAD,
                "these are one head's parts: write them into dv[rows, head], dq[rows, head] and dk[rows, head]",
            ),
            ("dS @ k[rows, head]", "dS @ k[rows, head] * math.sqrt(d_head)", "the scale is lost in dq"),
            ("dS.T @ q[rows, head]", "dS.T @ q[rows, head] * math.sqrt(d_head)", "the scale is lost in dk"),
            *AFTER_P,
        ),
    ),
)
