"""Results of runs: rows, curves, costs, and paired comparisons with confidence intervals."""
