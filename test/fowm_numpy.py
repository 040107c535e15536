"""FOWM once more, in NumPy alone and one row at a time, from the published equations: what the tests compare with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import nn

Array = np.ndarray
HEADS = "q"


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def elu(x: Array) -> Array:
    return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)


def mish(x: Array) -> Array:
    return x * np.tanh(np.log1p(np.exp(x)))


def layer_norm(x: Array, gain: Array, bias: Array) -> Array:
    spread = np.sqrt(((x - x.mean(-1, keepdims=True)) ** 2).mean(-1, keepdims=True) + 1e-5)
    return (x - x.mean(-1, keepdims=True)) / spread * gain + bias


def convolution(x: Array, weight: Array, bias: Array) -> Array:
    """Convolve (C, H, W) with stride 2 and no padding."""
    size = weight.shape[-1]
    rows = [
        [
            np.einsum("oijk,ijk->o", weight, x[:, top : top + size, left : left + size])
            for left in range(0, x.shape[2] - size + 1, 2)
        ]
        for top in range(0, x.shape[1] - size + 1, 2)
    ]
    return np.array(rows).transpose(2, 0, 1) + bias[:, None, None]


@dataclass
class NumpyFowm:
    """The networks of a FowmModel, from its weights in double precision."""

    w: dict[str, Array] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module) -> NumpyFowm:
        return cls({name: value.double().numpy() for name, value in model.state_dict().items()})

    def linear(self, name: str, x: Array) -> Array:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, name: str, x: Array) -> Array:
        return layer_norm(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def normed(self, name: str, x: Array) -> Array:
        for layer in ("first", "second"):
            x = mish(self.norm(f"{name}.{layer}.norm", self.linear(f"{name}.{layer}.linear", x)))
        return self.linear(f"{name}.output", x)

    def encode(self, image: Array | None, proprio: Array | None, target: bool = False) -> Array:
        """Return the latent of one observation: the mean of the parts' latents."""
        part = "slow_encoder" if target else "encoder"
        found = []
        if image is not None:
            x = image.transpose(2, 0, 1) / 255
            for layer in range(4):
                name = f"{part}.image.layers.{layer}"
                x = np.maximum(convolution(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"]), 0)
            x = self.linear(f"{part}.image.dense", x.reshape(-1))
            found.append(sigmoid(self.norm(f"{part}.image.bound.norm", x)))
        if proprio is not None:
            x = self.linear(f"{part}.state.2", elu(self.linear(f"{part}.state.0", proprio)))
            found.append(sigmoid(self.norm(f"{part}.state.3.norm", x)))
        return np.mean(found, axis=0)

    def advance(self, z: Array, a: Array) -> Array:
        return sigmoid(self.norm("dynamics.1.norm", self.normed("dynamics.0", np.concatenate((z, a)))))

    def reward(self, z: Array, a: Array) -> float:
        return float(self.normed("reward_head", np.concatenate((z, a)))[0])

    def policy(self, z: Array) -> Array:
        return np.tanh(self.normed("policy_head", z))

    def heads(self, name: str, x: Array) -> Array:
        """Return the value of every head of an ensemble."""
        values = []
        for member in range(len(self.w[f"{name}.first.weight"])):
            h = x @ self.w[f"{name}.first.weight"][member] + self.w[f"{name}.first.bias"][member, 0]
            gain, bias = self.w[f"{name}.norms.0"][:, member, 0]
            h = np.tanh(layer_norm(h, gain, bias))
            h = elu(h @ self.w[f"{name}.second.weight"][member] + self.w[f"{name}.second.bias"][member, 0])
            values.append((h @ self.w[f"{name}.last.weight"][member] + self.w[f"{name}.last.bias"][member, 0])[0])
        return np.array(values)

    def q(self, z: Array, a: Array, target: bool = False) -> Array:
        return self.heads("slow_q" if target else "q", np.concatenate((z, a)))

    def value(self, z: Array) -> float:
        return float(self.heads("v", z)[0])
