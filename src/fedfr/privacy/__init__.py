"""Privacy that is enforced: sums that hide single updates, and a bound on what a model shows of one person."""
