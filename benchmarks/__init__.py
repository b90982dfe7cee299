"""What synchronising and reading cost, measured beside mano 0.6.0 on the same simulated server and the same data.

    python -m benchmarks                # everything, some half an hour on two cores
    python -m benchmarks --quick        # the same workloads, smaller, in less than two minutes

Every measured run is a process of its own, so that its peak memory is its own; the server is another, whose time and
memory are not counted. Runs of different clients alternate, and medians are shown.
"""
