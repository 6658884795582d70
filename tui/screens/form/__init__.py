"""The form that edits a spec, with its plan, presets and preview."""
