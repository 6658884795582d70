"""Documents for others: tables, comparisons, write-ups and charts as files."""
