"""How a run is trained: its budget, rules for its rates, the parametrization, the optimizers."""
