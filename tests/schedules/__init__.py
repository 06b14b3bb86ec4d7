"""The daily workflow, what follows from it, what is made up for, and what is off until it is turned on."""
