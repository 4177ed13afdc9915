"""Training: loops that yield records. They write no file and print no line; their caller does."""
