"""What every flow is made of: a step, what it came to, and its success criteria."""
