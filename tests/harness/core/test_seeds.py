"""Random streams are named: the same everywhere, and independent of each other."""

from __future__ import annotations

import hashlib

import numpy as np

from bench.harness.core.seeds import FIRST_TUNING_SEED, generator, seed_of


def test_a_seed_is_128_bits_of_the_sha256_of_its_name() -> None:
    digest = hashlib.sha256(b"bench/3/order/gradient/7").digest()
    assert seed_of(3, "order", "gradient", 7) == int.from_bytes(digest[:16], "big")


def test_seeds_and_draws_are_fixed() -> None:
    """Numbers that differ here would make recorded trials impossible to repeat."""
    assert seed_of(0, "initialization") == 84880944389013744651958865104775198413
    assert generator(0, "initialization").bit_generator.random_raw(2).tolist() == [
        9277594721063480339,
        14791352931077443600,
    ]


def test_every_name_is_a_stream_of_its_own() -> None:
    names = [
        (root, *path)
        for root in (0, 1, 2, 10, FIRST_TUNING_SEED)
        for path in (("initialization",), ("order", "gradient", 0), ("order", "gradient", 1))
    ]
    assert len({seed_of(*name) for name in names}) == len(names)
    first = {generator(*name).random() for name in names}
    assert len(first) == len(names)


def test_streams_are_uncorrelated() -> None:
    drawn = np.stack([generator(seed, "order").standard_normal(4000) for seed in range(6)])
    correlation = np.corrcoef(drawn) - np.eye(6)
    assert np.abs(correlation).max() < 5 / np.sqrt(4000)


def test_zero_is_a_seed_and_a_fresh_generator_starts_again() -> None:
    one, again = generator(0, "x"), generator(0, "x")
    one.random(100)
    assert again.random() == generator(0, "x").random()
    assert generator(0, "x").random() != generator(1, "x").random()
