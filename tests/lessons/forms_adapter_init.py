"""Other correct ways to draw an adapter's initialization. {exercise: functions}"""

import numpy as np
from scipy.stats import truncnorm


def _parameters(D, M, draw):
    return {"up/W": draw((M, D)), "up/b": np.zeros(D), "down/W": draw((D, M)), "down/b": np.zeros(M)}


def one_by_one(D, M, rng, std=1e-2):
    def value():
        drawn = rng.normal(0, std)
        return drawn if abs(drawn) <= 2 * std else value()

    return _parameters(D, M, lambda shape: np.array([value() for _ in range(shape[0] * shape[1])]).reshape(shape))


def by_truncnorm(D, M, rng, std):
    return _parameters(D, M, lambda shape: truncnorm.rvs(-2, 2, scale=std, size=shape, random_state=rng))


def more_than_enough(D, M, rng, std=0.01):
    def draw(shape):
        values = std * rng.standard_normal(2 * shape[0] * shape[1])
        return values[np.abs(values) < 2 * std][: shape[0] * shape[1]].reshape(shape)

    return _parameters(D, M, draw)


def with_where(D, M, rng, std):
    def draw(shape):
        values = rng.normal(scale=std, size=shape)
        while np.abs(values).max() > 2 * std:
            values = np.where(np.abs(values) > 2 * std, rng.normal(scale=std, size=shape), values)
        return values.astype(np.float32)

    return _parameters(D, M, draw)


FORMS = {"adapter_init": [one_by_one, by_truncnorm, more_than_enough, with_where]}
