"""What leaves loratui as a file: tables, comparisons, write-ups, charts."""
