"""Text and tables that both the screens and the command line show; no Textual."""
