"""The pure room: bounds, estimators and diagnostics as functions of draws. Imports torch and the standard library."""
