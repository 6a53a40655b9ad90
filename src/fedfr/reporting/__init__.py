"""Progress, tables, charts and the HTML report."""
