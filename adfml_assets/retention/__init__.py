"""What is kept how long: rules, what they let go, what is needed whatever they say, and the removal itself."""
