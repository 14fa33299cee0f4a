"""Causal attention and its gradients in float64, word by word."""

import numpy as np


def attention_gradients(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, dout: np.ndarray, scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """out, dq, dk, dv, float64, of one sample: q and dout [s, 1, h, d], k and v [s, 1, h_kv, d]."""
    heads, kv_heads, rows = q.shape[2], k.shape[2], q.shape[0]
    group = heads // kv_heads
    q64, k64, v64, dout64 = (array[:, 0].astype(np.float64) for array in (q, k, v, dout))
    k64, v64 = (np.repeat(array, group, axis=1) for array in (k64, v64))
    scores = np.einsum("ihd,jhd->hij", q64, k64) * scale
    scores = np.where(np.tril(np.ones((rows, rows), bool)), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    out = np.einsum("hij,jhd->ihd", weights, v64)
    dweights = np.einsum("ihd,jhd->hij", dout64, v64)
    dscores = weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True)) * scale
    dq = np.einsum("hij,jhd->ihd", dscores, k64)
    dk = np.einsum("hij,ihd->jhd", dscores, q64)
    dv = np.einsum("hij,ihd->jhd", weights, dout64)

    def grouped(array: np.ndarray) -> np.ndarray:
        """[s, h, d] -> [s, 1, h_kv, d]"""
        return array.reshape(rows, kv_heads, group, -1).sum(axis=2)[:, None]

    return out[:, None], dq[:, None], grouped(dk), grouped(dv)
