"""Data: one file per kind of source, binarisation, splits and batches. `sources.SOURCES` is the table of names."""
