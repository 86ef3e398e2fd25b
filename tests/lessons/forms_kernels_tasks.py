"""Other correct ways to write the exercises of lessons 12 and 13. {exercise: functions}"""

import numpy as np

from minibert.lessons import plain


def k_outermost(x, W, tile):
    tm, tn, tk = tile
    (m, depth), n = x.shape, W.shape[1]
    y = np.zeros((m, n), dtype=np.float32)
    for k0 in range(0, depth, tk):
        for i0 in range(0, m, tm):
            for j0 in range(0, n, tn):
                i1, j1, k1 = min(i0 + tm, m), min(j0 + tn, n), min(k0 + tk, depth)
                y[i0:i1, j0:j1] = y[i0:i1, j0:j1] + x[i0:i1, k0:k1] @ W[k0:k1, j0:j1]
    return y


def a_tile_in_a_local_sum(x, W, tile):
    rows, columns, depth = tile
    y = np.empty((len(x), W.shape[1]), x.dtype)
    for i in range(-(-len(x) // rows)):
        for j in range(-(-W.shape[1] // columns)):
            total = 0.0  # float64: a tile is rounded where it is stored
            for k in range(-(-len(W) // depth)):
                left = x[i * rows :][:rows, k * depth :][:, :depth].astype(float)
                total = total + left @ W[k * depth :][:depth, j * columns :][:, :columns]
            y[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns] = total
    return y


def six_loops(x, W, tile):
    rows, columns, depth = tile
    y = np.zeros_like(x, shape=(x.shape[0], W.shape[1]))
    for i0 in range(0, x.shape[0], rows):
        for j0 in range(0, W.shape[1], columns):
            for k0 in range(0, W.shape[0], depth):
                for i in range(i0, min(i0 + rows, x.shape[0])):
                    for k in range(k0, min(k0 + depth, W.shape[0])):
                        for j in range(j0, min(j0 + columns, W.shape[1])):
                            y[i, j] += x[i, k] * W[k, j]
    return y


def by_counting(T, K, N, tile):
    rows, columns, depth = tile
    elements = 0
    for i in range(0, T, rows):
        for j in range(0, N, columns):
            m, n = min(rows, T - i), min(columns, N - j)
            elements += m * n
            for k in range(0, K, depth):
                d = min(depth, K - k)
                elements += m * d + d * n
    return elements


def with_integers(T, K, N, tile):
    beside, above = (N + tile[1] - 1) // tile[1], -(-T // tile[0])
    return T * N + K * (T * beside + N * above)


def with_floats(T, K, N, tile):
    return float(with_integers(T, K, N, tile))


def by_bytes(T, K, N, itemsize=4):
    return 2.0 * T * K * N / (itemsize * T * K + itemsize * K * N + itemsize * T * N)


def by_sides(T, K, N, itemsize=4):
    return 2 / itemsize / (1 / N + 1 / T + 1 / K)


def an_array(T, K, N, itemsize=4):
    return np.array(by_bytes(T, K, N, itemsize))


def by_where(ops_per_byte, peak, bandwidth):
    fed = np.multiply(ops_per_byte, bandwidth)
    return np.where(fed < peak, fed, peak)


def by_ridge(ops_per_byte, peak, bandwidth):
    return peak * np.clip(ops_per_byte / (peak / bandwidth), 0, 1)


def as_a_list(ops_per_byte, peak, bandwidth):
    if np.ndim(ops_per_byte):
        return [min(peak, i * bandwidth) for i in ops_per_byte]
    return min(peak, ops_per_byte * bandwidth)


def concatenated(x, offsets, tasks, adapters):
    parts = [plain.adapter(x[begin:end], adapters[t])[0] for begin, end, t in zip(offsets[:-1], offsets[1:], tasks)]
    return np.concatenate(parts)


def one_product_a_task(x, offsets, tasks, adapters):
    of_token = np.repeat(tasks, np.diff(offsets))
    y = np.empty_like(x)
    for task in set(tasks):
        y[of_token == task] = plain.adapter(x[of_token == task], adapters[task])[0]
    return y


def token_by_token(x, offsets, tasks, adapters):
    y = []
    for t in range(len(x)):
        b = np.searchsorted(offsets, t, side="right") - 1
        y.append(plain.adapter(x[t : t + 1], adapters[tasks[b]])[0][0])
    return np.array(y)


def by_masks(dy, x, offsets, tasks, adapters):
    of_token = np.repeat(tasks, np.diff(offsets))
    dx, gradients = np.empty_like(x), {}
    for task in adapters:  # with zeros for a task without a sequence
        rows = of_token == task
        _, cache = plain.adapter(x[rows], adapters[task])
        dx[rows], own = plain.adapter_backward(dy[rows], cache)
        gradients |= {f"{task}/{name}": gradient for name, gradient in own.items()}
    return dx, gradients


def from_zeros(dy, x, offsets, tasks, adapters):
    gradients = {f"{task}/{name}": np.zeros_like(a) for task in set(tasks) for name, a in adapters[task].items()}
    parts = []
    for begin, end, task in zip(offsets[:-1], offsets[1:], tasks):
        part, own = plain.adapter_backward(dy[begin:end], plain.adapter(x[begin:end], adapters[task])[1])
        parts.append(part)
        for name in own:
            gradients[task + "/" + name] += own[name]
    return np.concatenate(parts), gradients


def token_by_token_back(dy, x, offsets, tasks, adapters):
    dx, gradients = dy.copy(), {}
    for t in range(len(x)):
        task = tasks[np.searchsorted(offsets, t, side="right") - 1]
        row, own = plain.adapter_backward(dy[t : t + 1], plain.adapter(x[t : t + 1], adapters[task])[1])
        dx[t] = row[0]
        for name, gradient in own.items():
            gradients.setdefault(f"{task}/{name}", []).append(gradient)
    return dx, {key: sum(parts) for key, parts in gradients.items()}


FORMS = {
    "tiled_matmul": [k_outermost, a_tile_in_a_local_sum, six_loops],
    "fetched": [by_counting, with_integers, with_floats],
    "intensity": [by_bytes, by_sides, an_array],
    "roof": [by_where, by_ridge, as_a_list],
    "mixed_adapter": [concatenated, one_product_a_task, token_by_token],
    "mixed_gradients": [by_masks, from_zeros, token_by_token_back],
}
