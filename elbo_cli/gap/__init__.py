"""What `elbo gap` measures: one method a file."""
