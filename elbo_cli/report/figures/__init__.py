"""Records to figures: each with a caption that says, in numbers, what to see in it."""
