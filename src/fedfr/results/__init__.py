"""Results of runs as rows and curves, their costs, and paired comparisons with intervals."""
