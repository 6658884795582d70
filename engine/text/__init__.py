"""Words and numbers for people: units, sanitized and redacted text, Markdown."""
