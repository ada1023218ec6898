"""Keys: one trial, one key, on every machine and in every spelling."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.harness.core.errors import Usage
from bench.harness.core.spec import Budget, MethodSpec, Protocol, TrialSpec, canonical_json, key_of
from bench.optim.registry import names, resolve

PROTOCOL = Protocol(
    problem="curves",
    parameters={},
    preset="quick",
    data="curves (generated)",
    data_digest="ab" * 32,
    initialization="sparse",
    objective="cross-entropy",
    metric="squared_error",
    direction="lower",
    budget=Budget("gradients", 600_000.0),
    precision="fp32",
    evaluations=24,
)
METHOD = MethodSpec("nag", "torch", {"lr": 0.01, "batch": 200})
CHANGED = {
    "problem": "mnist",
    "parameters": {"T": 80},
    "preset": "paper",
    "data": "curves",
    "data_digest": "cd" * 32,
    "initialization": "dense",
    "objective": "squared error",
    "metric": "zero_one",
    "direction": "higher",
    "budget": Budget("updates", 600_000.0),
    "precision": "fp64",
    "evaluations": 25,
    "version": 3,
}


def spec_of(text: str) -> MethodSpec:
    method = resolve(text)
    return MethodSpec(method.name, method.backend, method.hyperparameters)


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (0x0000000000000000, "0"),
        (0x8000000000000000, "0"),
        (0x0000000000000001, "5e-324"),
        (0x7FEFFFFFFFFFFFFF, "1.7976931348623157e+308"),
        (0x4340000000000000, "9007199254740992"),
        (0x4430000000000000, "295147905179352830000"),
        (0x44B52D02C7E14AF5, "9.999999999999997e+22"),
        (0x44B52D02C7E14AF6, "1e+23"),
        (0x444B1AE4D6E2EF4F, "999999999999999900000"),
        (0x444B1AE4D6E2EF50, "1e+21"),
        (0x3EB0C6F7A0B5ED8C, "9.999999999999997e-7"),
        (0x3EB0C6F7A0B5ED8D, "0.000001"),
        (0x41B3DE4355555555, "333333333.3333333"),
        (0xBECBF647612F3696, "-0.0000033333333333333333"),
    ],
)
def test_numbers_are_written_as_rfc_8785_appendix_b_has_them(bits: int, expected: str) -> None:
    (number,) = struct.unpack(">d", bits.to_bytes(8, "big"))
    assert canonical_json(number) == expected


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=200, deadline=None)
def test_numbers_are_read_back_exactly(number: float) -> None:
    assert float(canonical_json(number)) == number


def test_names_are_sorted_and_there_is_no_space() -> None:
    assert canonical_json({"b": [1, True, None], "a": "é"}) == '{"a":"é","b":[1,true,null]}'
    assert key_of({"b": 1, "a": 2}) == key_of({"a": 2, "b": 1})


@pytest.mark.parametrize("number", [2**53, 10**17, float("nan"), float("-inf")])
def test_a_number_that_json_cannot_carry_is_a_sentence(number: float) -> None:
    with pytest.raises(Usage, match="must be finite, and whole numbers must be below 2\\^53"):
        canonical_json({"period": number})


def test_one_number_has_one_key_however_it_is_written() -> None:
    texts = ["nag[lr=.01]", "nag[lr=1e-2]", "nag[lr=0.010,batch=2e2]", "nag[batch=200.0]", "nag"]
    assert len({spec_of(text).key for text in texts}) == 1
    assert spec_of("nag[lr=1]").key == spec_of("nag[lr=1.0]").key
    assert spec_of("nag[lr=0.0100000001]").key != spec_of("nag").key
    one, other = (replace(PROTOCOL, budget=Budget("gradients", n)) for n in (600_000, 6e5))
    assert one.key == other.key


def test_the_key_of_a_trial_is_fixed() -> None:
    """A change here makes every recorded trial unknown: raise PROTOCOL_VERSION knowingly."""
    text = (
        '{"method":{"backend":"torch","hyperparameters":{"batch":200,"lr":0.01},"name":"nag"},'
        '"protocol":{"budget":{"amount":600000,"currency":"gradients"},'
        '"data":"curves (generated)","data_digest":"' + "ab" * 32 + '",'
        '"direction":"lower","evaluations":24,"initialization":"sparse",'
        '"metric":"squared_error","objective":"cross-entropy","parameters":{},'
        '"precision":"fp32","preset":"quick","problem":"curves","version":2},"seed":0}'
    )
    assert TrialSpec(PROTOCOL, METHOD, 0).key == hashlib.sha256(text.encode()).hexdigest()


def test_every_field_of_the_protocol_counts() -> None:
    assert set(CHANGED) == {field.name for field in fields(Protocol)}
    keys = {PROTOCOL.key}
    for name, value in CHANGED.items():
        other = replace(PROTOCOL, **{name: value})
        keys.add(other.key)
        assert PROTOCOL.differences(other) == other.differences(PROTOCOL) == [name]
    assert len(keys) == 1 + len(CHANGED)
    both = replace(PROTOCOL, preset="paper", evaluations=3)
    assert PROTOCOL.differences(both) == ["preset", "evaluations"]


def test_the_amount_of_the_budget_counts() -> None:
    other = replace(PROTOCOL, budget=Budget("gradients", 600_001.0))
    assert PROTOCOL.differences(other) == ["budget"]
    assert other.key != PROTOCOL.key


def test_equal_protocols_differ_in_nothing() -> None:
    again = Protocol.from_dict(json.loads(canonical_json(PROTOCOL.as_dict())))
    assert PROTOCOL.differences(again) == []
    assert again.key == PROTOCOL.key
    assert isinstance(again.budget, Budget)


def test_everything_of_a_trial_counts() -> None:
    trials = [
        TrialSpec(PROTOCOL, METHOD, 0),
        TrialSpec(PROTOCOL, METHOD, 1),
        TrialSpec(replace(PROTOCOL, version=3), METHOD, 0),
        TrialSpec(PROTOCOL, replace(METHOD, name="cm"), 0),
        TrialSpec(PROTOCOL, replace(METHOD, backend="numba"), 0),
        TrialSpec(PROTOCOL, replace(METHOD, hyperparameters={"lr": 0.01}), 0),
        TrialSpec(PROTOCOL, replace(METHOD, hyperparameters={"lr": 0.02, "batch": 200}), 0),
    ]
    assert len({trial.key for trial in trials}) == len(trials)
    assert trials[0].key == TrialSpec(PROTOCOL, METHOD, 0).key


def test_the_order_of_hyperparameters_does_not_count() -> None:
    assert METHOD.key == MethodSpec("nag", "torch", {"batch": 200, "lr": 0.01}).key


@pytest.mark.parametrize("name", [*names(), "torch.optim.AdamW", "nag@numba"])
def test_the_text_of_a_method_resolves_to_it(name: str) -> None:
    spec = spec_of(name)
    again = spec_of(spec.text)
    assert again == spec
    assert again.key == spec.key


def test_texts_are_written_as_people_write_them() -> None:
    spec = MethodSpec("hf", "torch", {"lam": 45.0, "precondition": True, "l2": 2e-5})
    assert spec.text == "hf@torch[lam=45,precondition=true,l2=2e-05]"
    assert MethodSpec("mine", "torch").text == "mine@torch"


@given(st.floats(min_value=0, exclude_min=True, allow_infinity=False))
@settings(max_examples=200, deadline=None)
def test_floats_go_through_the_text_exactly(lr: float) -> None:
    text = MethodSpec("sgd", "torch", {"lr": lr, "batch": 10}).text
    assert resolve(text).hyperparameters["lr"] == lr


@given(st.booleans(), st.integers(min_value=1, max_value=2**53 - 1))
@settings(max_examples=50, deadline=None)
def test_whole_numbers_and_booleans_go_through_the_text(precondition: bool, steps: int) -> None:
    given_ = {"precondition": precondition, "cg_max": steps}
    back = resolve(MethodSpec("hf", "torch", given_).text).hyperparameters
    assert (back["precondition"], back["cg_max"]) == (precondition, steps)
