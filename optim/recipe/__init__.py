"""The recipe of a method: learning-rate schedule, weight decay, clipping, averages, accumulation.

It is the same for every method. `with_recipe` gives a method's class the hyperparameters of a
recipe, and they are part of its identity.
"""
