"""Complete runs: components, method runs, benchmarks, evaluation and export of stored models, events, reports."""
