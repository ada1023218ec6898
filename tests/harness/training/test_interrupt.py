import signal

import pytest

from bench.harness.training.interrupt import catch_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks(number):
    with catch_signals() as interrupted:
        assert not interrupted
        signal.raise_signal(number)
        assert interrupted
        assert interrupted.name == number.name


def test_a_second_ctrl_c_ends_at_once():
    with catch_signals() as interrupted:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert interrupted.name == "SIGTERM"


def test_which_signal_ends_at_once_can_be_chosen():
    with catch_signals(at_once=signal.SIGTERM):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_a_second_sigterm_changes_nothing():
    with catch_signals() as interrupted:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert interrupted.name == "SIGINT"


def test_afterwards_signals_are_as_before():
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with pytest.raises(ZeroDivisionError), catch_signals():
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in numbers] == before
