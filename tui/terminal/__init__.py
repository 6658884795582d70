"""The layer between the app and the terminal: driver, frame diff, clipboard, keys."""
