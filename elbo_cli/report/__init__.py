"""Records as tables, pictures and lines. Sees records, never models."""
