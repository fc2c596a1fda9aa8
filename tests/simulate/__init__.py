"""A seeded world in virtual time, and a judge that knows only the promise.

`virtual` is time, `faults` the store and the broker, `wires` the sockets, `publishers` and `readers` (with their
`interests`) the people, `processes` the real hub, gate, publisher, expirer and connections, `world` puts them together
and does what an operator does. `history` is what the log said at any time, `judge` looks at what publishers were
answered, `stretches` at what readers got. `test_simulate` runs the clean code, `test_planted` and `test_planted_life`
run it with a bug in it and see that the judge complains.

    SIMULATE_SEED=17 python -m pytest tests/simulate/test_simulate.py -s    one seed, with all that happened in it
    SIMULATE_SEEDS=20000 SIMULATE_FROM=5000 python -m pytest ...            other seeds, other numbers of them
"""
