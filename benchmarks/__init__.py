"""Speed against its peers, measured side by side in one run and never asserted in a test."""
