"""What the gateway costs, beside what it is compared with, all in one run.

`make bench` prints one table. Costs are CPU time of the server process, so that
neither the load generator nor the database counts; every row is measured in
turn, round after round, and the median is shown, for machines are noisy.
"""
