"""What a report shows beside records: arrays of a model's pictures, log-weights and posteriors. No drawing here."""
