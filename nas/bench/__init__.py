"""The referee: the real search machine over recorded tables, under a virtual clock, with many seeds.

    spec        the YAML of a benchmark            simulation   workers, deaths and time, made up
    table       a CSV or NPZ file                  trace        one search, and what it evaluated in which order
    recorded    space, table and protocol joined   measures     what is told of traces: medians, regret, tests
    baselines   opponents that no config offers    ledger       results on disk: a comparison goes on where it stopped
    contenders  opponents by name                  tournament   all seeds of all of them, on several processes
    report      tables and JSON                    plot         regret against evaluations
    command     `nas bench`

Nothing here knows a benchmark: what NAS-Bench-201 or any other table is, its YAML says (configs/bench/).
"""
