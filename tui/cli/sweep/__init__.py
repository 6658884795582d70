"""`loratui sweep`: a question put to many rounds."""
