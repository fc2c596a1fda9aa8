"""A seeded world in virtual time, and a judge that knows only the promise.

`virtual` is time, `faults` the store and the broker, `wires` the sockets, `people` publishers and subscribers, `world`
puts the real hub, gate, publisher and connection among them, `judge` looks at what everyone got. `test_simulate` runs
the clean code, `test_planted` runs it with a bug in it and sees that the judge complains.

    SIMULATE_SEED=17 python -m pytest tests/simulate/test_simulate.py -s    one seed, with all that happened in it
    SIMULATE_SEEDS=20000 SIMULATE_FROM=5000 python -m pytest ...            other seeds, other numbers of them
"""
