"""Format numbers and text for people: units, sanitized and redacted text, Markdown."""
