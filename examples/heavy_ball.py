"""An optimizer of one's own.

bench compare --optimizers 'nag,./examples/heavy_ball.py:HeavyBall'
"""

from bench.optim.hyperparameters import Hyperparameter, cast_all


class HeavyBall:
    """v ← μv − (1 − μ)ε∇f(θ), θ ← θ + v: momentum whose step does not grow with μ; K = 1."""

    name, reference, backends, fleet_key = "heavy-ball", "an example", ("torch",), None
    space = (
        Hyperparameter("lr", float, 1.0, "ε", low=0.0, open_low=True, tune=(0.01, 10), scale="log"),
        Hyperparameter("mu", float, 0.9, "μ", low=0.0, high=1.0),
        Hyperparameter("batch", int, 100, "cases in a minibatch", low=1),
    )

    def __init__(self, backend="torch", **given):
        self.backend, self.hyperparameters = backend, cast_all(self.space, given, self.name)
        self.cost_of_a_step = float(self.hyperparameters["batch"])

    def init(self, theta, seed, budget):
        return {"v": theta.new_zeros(theta.shape)}

    def step(self, theta, objective, state):
        lr, mu, batch = self.hyperparameters.values()
        loss, gradient = objective.gradient(theta, on=objective.next_batch(batch))
        theta.add_(state["v"].mul_(mu).sub_(gradient, alpha=(1 - mu) * lr))
        return {"loss": loss}

    def iterate(self, theta, state):
        return theta

    def state_dict(self, state):
        return {"v": state["v"].clone()}

    def load_state_dict(self, state, saved):
        state["v"].copy_(saved["v"])
