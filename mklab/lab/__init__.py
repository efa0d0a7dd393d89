"""Labs: scenarios, exercises, and building the notebooks."""
