"""What each command does, once its words are parsed: open, measure, show, write. One noun to a file."""
