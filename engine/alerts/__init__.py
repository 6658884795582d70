"""What is worth a notification, and how it is sent."""
