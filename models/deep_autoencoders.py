"""The deep-autoencoder problems of Sutskever et al. 2013, sec. 3: curves, mnist and faces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bench.models import brackets
from bench.models.autoencoder import Architecture, AutoencoderPasses
from bench.models.data.curves import curves as curves_data
from bench.models.data.faces import faces as faces_data
from bench.models.data.mnist import mnist as mnist_data
from bench.models.initialization import INITIALIZATIONS
from bench.models.losses import HalfSquaredError, LogisticCrossEntropy, MatchingLoss
from bench.models.metrics import squared_error
from bench.models.problem import Data, DataSource, Problem

CURVES_SEED = 0
"""The generator's seed: every comparison on curves is on the same images."""
SPARSE = "sparse"
"""The published start."""
LOGISTIC = LogisticCrossEntropy()


@dataclass(frozen=True)
class Preset:
    """What a preset of an autoencoder fixes."""

    side: int
    hidden: tuple[int, ...]
    train: int
    test: int
    budget: int
    evaluations: int
    targets: tuple[float, ...]
    notes: str


CURVES = {
    "quick": Preset(
        side=16,
        hidden=(128, 64, 32, 6),
        train=1_000,
        test=1_000,
        budget=600_000,
        evaluations=24,
        targets=(2.5, 1.0, 0.3),
        notes="16×16 images, 256-128-64-32-6, 1,000 + 1,000 cases",
    ),
    "standard": Preset(
        side=28,
        hidden=(200, 100, 50, 25, 6),
        train=5_000,
        test=5_000,
        budget=8_000_000,
        evaluations=40,
        targets=(4.0, 2.0, 1.0),
        notes="28×28 images, 784-200-100-50-25-6, 5,000 + 5,000 cases",
    ),
    "paper": Preset(
        side=28,
        hidden=(400, 200, 100, 50, 25, 6),
        train=20_000,
        test=10_000,
        budget=150_000_000,
        evaluations=200,
        targets=(1.0, 0.5, 0.2, 0.1),
        notes="as published: 784-400-200-100-50-25-6, 20,000 cases, 750,000 updates of 200",
    ),
}

MNIST = {
    "quick": Preset(
        side=14,
        hidden=(128, 64, 32, 12),
        train=1_000,
        test=1_000,
        budget=600_000,
        evaluations=24,
        targets=(5.0, 2.5, 1.0),
        notes="digits averaged to 14×14, 196-128-64-32-12, the first 1,000 + 1,000 cases",
    ),
    "standard": Preset(
        side=28,
        hidden=(250, 125, 60, 30),
        train=5_000,
        test=5_000,
        budget=8_000_000,
        evaluations=40,
        targets=(15.0, 10.0, 6.0),
        notes="28×28 digits, 784-250-125-60-30, the first 5,000 + 5,000 cases",
    ),
    "paper": Preset(
        side=28,
        hidden=(1000, 500, 250, 30),
        train=60_000,
        test=10_000,
        budget=150_000_000,
        evaluations=200,
        targets=(4.0, 2.0, 1.0, 0.8),
        notes="as published: 784-1000-500-250-30, 60,000 cases, 750,000 updates of 200",
    ),
}


FACES = {
    "quick": Preset(
        side=25,
        hidden=(128, 64, 32, 12),
        train=1_000,
        test=1_000,
        budget=600_000,
        evaluations=24,
        targets=(250.0, 150.0, 100.0),
        notes="25×25 patches, 625-128-64-32-12, 1,000 + 1,000 cases spread over the people",
    ),
    "standard": Preset(
        side=25,
        hidden=(500, 250, 125, 30),
        train=5_000,
        test=5_000,
        budget=8_000_000,
        evaluations=40,
        targets=(100.0, 50.0, 25.0),
        notes="25×25 patches, 625-500-250-125-30, 5,000 + 5,000 cases spread over the people",
    ),
    "paper": Preset(
        side=25,
        hidden=(2000, 1000, 500, 30),
        train=103_500,
        test=41_400,
        budget=150_000_000,
        evaluations=200,
        targets=(50.0, 20.0, 10.0, 8.0),
        notes="as published: 625-2000-1000-500-30, 103,500 cases, 750,000 updates of 200",
    ),
}


class DeepAutoencoder(Problem):
    """Logistic units, a linear code, outputs that match the loss; by default a sparse start.

    By keyword: init, one of `INITIALIZATIONS`, and what that takes. ValueError for any other.
    """

    def __init__(
        self,
        name: str,
        preset: str,
        setting: Preset,
        load: Callable[[Preset, DataSource], Data],
        loss: MatchingLoss = LOGISTIC,
        given: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        brackets.known(name, given, ("init", "scale", "fan_in"))
        values = {key: value for key, value in given.items() if value is not None}
        init = brackets.choice("init", values.pop("init", SPARSE), INITIALIZATIONS)
        self._start, changed = brackets.initialization(init, values)
        parameters = {**({} if init == SPARSE else {"init": init}), **changed}
        self.architecture = Architecture.mirrored((setting.side**2, *setting.hidden))
        self._setting = setting
        self._load = load
        super().__init__(
            name=name,
            preset=preset,
            layout=self.architecture.layout(),
            loss=loss,
            metric=squared_error(loss),
            initialization=self._start.rule,
            budget=setting.budget,
            evaluations=setting.evaluations,
            targets=setting.targets,
            # Five per cent, on the logarithm.
            margin=float(np.log(1.05)),
            parameters=parameters,
            notes=f"{setting.notes}; another start" if parameters else setting.notes,
        )

    def logits(self, params: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return the pre-activations of the outputs, (K, B, T), in plain operations."""
        h = inputs.expand(len(params["W1"]), -1, -1)
        for i in range(1, self.architecture.depth + 1):
            # h W + b as one node of autograd's graph, which Gauss–Newton products go through.
            h = torch.baddbmm(params[f"b{i}"].unsqueeze(1), h, params[f"W{i}"])
            if i not in (self.architecture.code, self.architecture.depth):
                h = torch.sigmoid(h)
        return h

    def initialize(self, rng: np.random.Generator) -> Float[Tensor, " P"]:
        """Draw every layer's weights by the one rule, the code's and the outputs' too."""
        theta = torch.zeros(self.layout.size, dtype=torch.float64)
        for name, view in self.layout.views(theta).items():
            if name.startswith("W"):
                fan_in, units = view.shape
                view.copy_(torch.from_numpy(self._start.weights(rng, fan_in, units)))
            else:
                view.fill_(self._start.bias)
        return theta

    def data(self, source: DataSource) -> Data:
        """Generate or find the images; an autoencoder's targets are its inputs."""
        return self._load(self._setting, source)

    def passes(self) -> AutoencoderPasses:
        """Return the hand-written passes."""
        return AutoencoderPasses(self.architecture, self.loss)


def curves(preset: str, **given: object) -> DeepAutoencoder:
    """Return the curves problem on generated images (the original file is not available)."""

    def load(setting: Preset, source: DataSource) -> Data:
        return curves_data(setting.train, setting.test, setting.side, CURVES_SEED, source.cache)

    return DeepAutoencoder("curves", preset, CURVES[preset], load, given=given)


def mnist(preset: str, **given: object) -> DeepAutoencoder:
    """Return the mnist problem on the published digits."""

    def load(setting: Preset, source: DataSource) -> Data:
        return mnist_data(setting.train, setting.test, source, setting.side)

    return DeepAutoencoder("mnist", preset, MNIST[preset], load, given=given)


def faces(preset: str, **given: object) -> DeepAutoencoder:
    """Return the faces problem, linear outputs under squared error, on rebuilt patches."""

    def load(setting: Preset, source: DataSource) -> Data:
        return faces_data(setting.train, setting.test, source)

    return DeepAutoencoder("faces", preset, FACES[preset], load, HalfSquaredError(), given)
